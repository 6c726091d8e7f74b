"""What an IOMMU's mappings are at any time, in a dictionary: which accesses of a trace they cover."""

from typing import Any

PAGE = 4096


class Mappings:
    """Live mappings, page by page, and what was unmapped and not yet flushed."""

    def __init__(self) -> None:
        self.live: dict[tuple[int, int], int] = {}  # (domain, page of the device) -> page of the host
        self.leaving: dict[int, set[int]] = {}  # domain -> pages of the device, unmapped, not flushed

    def step(self, row: dict[str, Any]) -> None:
        """Follow a row that maps, unmaps or invalidates."""
        pages = range(row["address"] // PAGE, (row["address"] + row["size"]) // PAGE)
        domain, what = row["domain"], row["raw"]
        if what == "map":
            for n, page in enumerate(pages):
                assert (domain, page) not in self.live, "mapped twice"
                assert page not in self.leaving.get(domain, set()), "mapped anew before it was flushed"
                self.live[domain, page] = row["target"] // PAGE + n
        elif what == "unmap":
            for page in pages:
                del self.live[domain, page]
                self.leaving.setdefault(domain, set()).add(page)
        elif what == "iotlb-pages":
            self.leaving[domain] -= set(pages)
        elif what == "iotlb-domain":
            self.leaving[domain] = set()

    def covers(self, row: dict[str, Any]) -> bool:
        """Whether every byte of an access under a device's address is mapped to where it is said to lead."""
        first, last = row["address"] // PAGE, (row["address"] + row["size"] - 1) // PAGE
        begin = row["target"] // PAGE
        return row["address"] % PAGE == row["target"] % PAGE and all(
            self.live.get((row["domain"], page)) == begin + n for n, page in enumerate(range(first, last + 1))
        )

    def holds(self, row: dict[str, Any]) -> bool:
        """Whether every page of an access under the host's address is mapped in its domain."""
        wanted = set(range(row["target"] // PAGE, (row["target"] + row["size"] - 1) // PAGE + 1))
        return wanted <= {host for (domain, _), host in self.live.items() if domain == row["domain"]}

    def left(self, row: dict[str, Any]) -> bool:
        """Whether the page of an access was unmapped and is not flushed yet."""
        return row["address"] // PAGE in self.leaving.get(row["domain"], set())
