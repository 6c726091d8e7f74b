"""What a command to a zoned namespace is answered: status code type and status code, ``SCT << 8 | SC``.

Source: NVM Express Base Specification 2.0, generic command status; Zoned Namespace Command Set 1.1, command specific
status values. What a recording says of them: `traces.nvme.recorded_status`.
"""

from enum import IntEnum


class Status(IntEnum):
    """The statuses that zones make."""

    SUCCESS = 0x000
    INVALID_FIELD = 0x002
    LBA_OUT_OF_RANGE = 0x080
    INVALID_ZONE_OPERATION = 0x1B6
    NO_ZRWA_RESOURCES = 0x1B7
    ZONE_BOUNDARY_ERROR = 0x1B8
    ZONE_IS_FULL = 0x1B9
    ZONE_IS_READ_ONLY = 0x1BA
    ZONE_IS_OFFLINE = 0x1BB
    ZONE_INVALID_WRITE = 0x1BC
    TOO_MANY_ACTIVE_ZONES = 0x1BD
    TOO_MANY_OPEN_ZONES = 0x1BE
    INVALID_ZONE_STATE_TRANSITION = 0x1BF
