"""Invalidation descriptors of Intel VT-d, as columns of the kind `Dma`.

The lowest four bits of a descriptor are its type: 1 context cache, 2 IOTLB, 3 device TLB, 4 interrupt entries, 5
wait, 6 IOTLB by PASID, 7 PASID cache, 8 device TLB by PASID; the granularity stands in bits 5:4. Source: Intel
Virtualization Technology for Directed I/O, "Invalidation Descriptors".
"""

from typing import Any

import numpy as np

from traces.dma import NOT_TOLD, Event
from traces.table import U64

PAGE = 4096
_LAST = 0xFFFFFFFFFFFFF000

_EVENTS = {
    (1, 1): Event.INVALIDATE_CONTEXT_GLOBAL,
    (1, 2): Event.INVALIDATE_CONTEXT_DOMAIN,
    (1, 3): Event.INVALIDATE_CONTEXT_DEVICE,
    (2, 1): Event.INVALIDATE_IOTLB_GLOBAL,
    (2, 2): Event.INVALIDATE_IOTLB_DOMAIN,
    (2, 3): Event.INVALIDATE_IOTLB_PAGES,
    (6, 2): Event.INVALIDATE_IOTLB_PASID,
    (6, 3): Event.INVALIDATE_IOTLB_PAGES,
    **{(3, g): Event.INVALIDATE_DEVICE_TLB for g in range(4)},
    **{(4, g): Event.INVALIDATE_INTERRUPT for g in range(4)},
    **{(5, g): Event.WAIT for g in range(4)},
    **{(7, g): Event.INVALIDATE_PASID for g in range(4)},
    **{(8, g): Event.INVALIDATE_DEVICE_TLB for g in range(4)},
}
_EVENT = np.full(64, Event.UNKNOWN, np.uint8)
for (_type, _granularity), _event in _EVENTS.items():
    _EVENT[_granularity << 4 | _type] = _event


def range_of(address: U64, sized: Any) -> tuple[U64, U64]:
    """First byte and bytes of a device-TLB invalidation.

    Where the size bit is set, the lowest clear bit of the address from bit 12 on says how far it goes: none set two
    pages, one set four, and so on (PCI Express, "ATS", Invalidate Request).
    """
    page = address >> np.uint64(12)
    ones = page & ~(page + np.uint64(1))  # the ones below the lowest clear bit
    more = np.where(sized, (ones << np.uint64(1)) | np.uint64(1), np.uint64(0))
    return (page & ~more) << np.uint64(12), np.where(sized, (more + np.uint64(1)) * np.uint64(PAGE), np.uint64(PAGE))


def pages(mask: U64) -> U64:
    """Bytes of 2**mask pages; an address mask has six bits."""
    return np.uint64(PAGE) << np.minimum(mask, np.uint64(51))


def decoded(low: U64, high: U64) -> dict[str, Any]:
    """Columns of invalidation descriptors, given as their lower and upper eight bytes."""

    def bits(value: U64, first: int, count: int) -> U64:
        return (value >> np.uint64(first)) & np.uint64((1 << count) - 1)

    kind = bits(low, 0, 4)
    event = _EVENT[bits(low, 0, 6)]
    domain_is = np.isin(event, (Event.INVALIDATE_CONTEXT_DOMAIN, Event.INVALIDATE_CONTEXT_DEVICE)) | (
        np.isin(kind, (2, 6, 7)) & (event != Event.INVALIDATE_IOTLB_GLOBAL)
    )
    device_is = event == Event.INVALIDATE_CONTEXT_DEVICE
    source = np.where(kind == 8, bits(low, 16, 16), bits(low, 32, 16))
    pasid_is = np.isin(kind, (6, 8)) | ((kind == 7) & (bits(low, 4, 2) == 1))
    first, count = range_of(high & np.uint64(_LAST), np.where(kind == 8, bits(high, 11, 1), bits(high, 0, 1)) > 0)
    by_page = event == Event.INVALIDATE_IOTLB_PAGES
    device_tlb, wait = event == Event.INVALIDATE_DEVICE_TLB, event == Event.WAIT
    entry = (event == Event.INVALIDATE_INTERRUPT) & (bits(low, 4, 1) == 1)
    nothing = np.uint64(0)
    return {
        "event": event,
        "source": np.where(device_is | device_tlb, source, np.uint64(NOT_TOLD)),
        "domain": np.where(domain_is, bits(low, 16, 16), np.uint64(NOT_TOLD)),
        "pasid": np.where(pasid_is, bits(low, 32, 20), np.uint64(NOT_TOLD)),
        "address": np.select(
            [by_page, device_tlb, wait, entry],
            [high & np.uint64(_LAST), first, high & np.uint64(0xFFFFFFFFFFFFFFFC), bits(low, 32, 16)],
            nothing,
        ),
        "size": np.select(
            [by_page, device_tlb, entry],
            [pages(bits(high, 0, 6)), count, np.uint64(1) << bits(low, 27, 5)],
            nothing,
        ),
        "target": np.where(wait, bits(low, 32, 32), nothing),
    }
