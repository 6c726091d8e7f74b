"""DMA remapping: what devices asked of an IOMMU, and how the mappings they use were made and taken back.

An access carries the type of its address: untranslated (the IOMMU translates it), a request to be told the translation
(ATS), or translated before. Invalidations are those of Intel VT-d; other IOMMUs have the same under other names.
Source: Intel Virtualization Technology for Directed I/O, "DMA Remapping" and "Invalidation"; PCI Express, "ATS".
"""

from enum import IntEnum
from typing import Annotated, NamedTuple

from traces.table import U8, U16, U32, U64, Text, Unknown

NOT_TOLD = (1 << 32) - 1  # of source, domain and pasid


class Event(IntEnum):
    """What happened."""

    ACCESS = 0
    MAP = 1
    UNMAP = 2
    INVALIDATE_IOTLB_GLOBAL = 3
    INVALIDATE_IOTLB_DOMAIN = 4
    INVALIDATE_IOTLB_PAGES = 5
    INVALIDATE_IOTLB_PASID = 6
    INVALIDATE_DEVICE_TLB = 7
    INVALIDATE_CONTEXT_GLOBAL = 8
    INVALIDATE_CONTEXT_DOMAIN = 9
    INVALIDATE_CONTEXT_DEVICE = 10
    INVALIDATE_PASID = 11
    INVALIDATE_INTERRUPT = 12
    WAIT = 13
    INTERRUPT = 14
    FAULT = 15
    SWITCH = 16
    UNKNOWN = 255


class Request(IntEnum):
    """The type of an access's address (the field AT of a PCI Express request)."""

    UNTRANSLATED = 0
    TRANSLATION = 1
    TRANSLATED = 2
    NOT_TOLD = 255


class Told(IntEnum):
    """A yes or no that a source may keep to itself."""

    NO = 0
    YES = 1
    NOT_TOLD = 2


class Dma(NamedTuple):
    """Events of an IOMMU in time order, one row each."""

    time: Annotated[U64, "nanoseconds since the trace's first record; its order where the source has no clock"]
    event: Annotated[
        U8,
        "0 access of a device, 1 map, 2 unmap; invalidation of the IOTLB: 3 all of it, 4 a domain, 5 pages, 6 an "
        "address space (PASID); 7 of a device's own TLB; of the context cache: 8 all of it, 9 a domain, 10 a device; "
        "11 of the PASID cache, 12 of interrupt entries; 13 wait for the invalidations before it, 14 interrupt "
        "remapped, 15 fault, 16 translation switched on or off, 255 unknown",
    ]
    request: Annotated[
        U8, "type of the access's address: 0 untranslated, 1 translation request, 2 translated, 255 not told"
    ]
    source: Annotated[
        U32,
        "the device: segment << 16 | bus << 8 | device << 3 | function; 4294967295 (NULL in SQL) where not told",
        Unknown(NOT_TOLD),
    ]
    domain: Annotated[U32, "domain that the event concerns; 4294967295 (NULL in SQL) where not told", Unknown(NOT_TOLD)]
    pasid: Annotated[U32, "address space within it; 4294967295 (NULL in SQL) where there is none", Unknown(NOT_TOLD)]
    address: Annotated[
        U64,
        "input address accessed, mapped or invalidated; of a wait where its status is written; of an interrupt or its "
        "invalidation the index of its entry; 0 where there is none",
    ]
    size: Annotated[
        U64,
        "bytes accessed, mapped, unmapped or invalidated; of an invalidation of interrupt entries how many; 0 where "
        "there is none or it is not told",
    ]
    page: Annotated[U64, "bytes of the page that translated the access; 0 where not told"]
    target: Annotated[
        U64,
        "address that the input address leads to; of a wait the status that is written, of an interrupt its vector, "
        "of a switch 1 on and 0 off; 0 where there is none",
    ]
    write: Annotated[U8, "the access writes memory: 0 no, 1 yes, 2 not told"]
    hit: Annotated[U8, "the IOTLB held the translation: 0 no, 1 yes, 2 not told"]
    fault: Annotated[U16, "reason of a fault, as the IOMMU numbers them; 0 where there is none"]
    phase: Annotated[Text, "what the guest was doing, where the source marks it"]
    raw: Annotated[Text, "the source's own word for the event"]
