"""A zoned namespace told in dicts and lists, in two profiles: slow, and plainly right.

``nvme`` is the specification's reading (NVM Express Zoned Namespace Command Set 1.1), ``qemu`` has the habits of QEMU's
emulated drive (hw/nvme, versions 6 to 10). Where they part is told in `pipeline.ftl.zoned.state`.
"""

SUCCESS, INVALID_FIELD, LBA_OUT_OF_RANGE = 0x000, 0x002, 0x080
INVALID_ZONE_OPERATION, NO_ZRWA = 0x1B6, 0x1B7
BOUNDARY, IS_FULL, READ_ONLY, OFFLINE = 0x1B8, 0x1B9, 0x1BA, 0x1BB
INVALID_WRITE, TOO_MANY_ACTIVE, TOO_MANY_OPEN, INVALID_TRANSITION = 0x1BC, 0x1BD, 0x1BE, 0x1BF

OPEN_STATES = ("implicit", "explicit")
ACTIVE_STATES = (*OPEN_STATES, "closed")


class Namespace:
    """Zones of one namespace; blocks are counted from its start, write pointers from the zone's."""

    def __init__(
        self,
        zones: int,
        size: int,
        capacity: int,
        *,
        max_open: int = 0,
        max_active: int = 0,
        profile: str = "nvme",
        extension: int = 0,
        cross_read: bool = False,
        zrwa: int = 0,
        granularity: int = 1,
        zrwas: int = 0,
        largest: int = 0,
        largest_append: int = 0,
    ) -> None:
        self.zones, self.size, self.capacity = zones, size, capacity
        self.max_open, self.max_active = max_open, max_active
        self.qemu, self.extension, self.cross_read = profile == "qemu", extension, cross_read
        self.zrwa, self.granularity, self.zrwas = zrwa, granularity, zrwas
        self.largest, self.largest_append = largest, largest_append
        self.left = zrwas  # ZRWAs that no zone has
        self.state = dict.fromkeys(range(zones), "empty")
        self.wp = dict.fromkeys(range(zones), 0)
        self.extended: set[int] = set()  # zones whose descriptor extension is valid
        self.random: set[int] = set()  # zones with a ZRWA
        self.order: dict[str, list[int]] = {state: [] for state in ACTIVE_STATES}  # as they came to the state

    def count(self, *states: str) -> int:
        return sum(len(self.order[state]) for state in states)

    def enter(self, zone: int, state: str) -> None:
        old = self.state[zone]
        if old in self.order:
            self.order[old].remove(zone)
        if state in self.order:
            self.order[state].append(zone)
        elif zone in self.random:
            self.random.remove(zone)
            self.left = (self.left + int(self.zrwas > 0)) % (1 << 32)
        if state in ("empty", "offline"):
            self.extended.discard(zone)
        self.state[zone] = state

    def beyond(self, slba: int, blocks: int) -> bool:
        return slba + blocks > self.zones * self.size

    # resources

    def resources(self, active: int, opened: int, zrwa: int) -> int:
        if self.max_active and self.count(*ACTIVE_STATES) + active > self.max_active:
            return TOO_MANY_ACTIVE
        if self.max_open and self.count(*OPEN_STATES) + opened > self.max_open:
            return TOO_MANY_OPEN
        return NO_ZRWA if zrwa > self.left else SUCCESS

    def open_up(self, zone: int, state: str, zrwa: bool = False) -> int:
        """Make an empty or closed zone an open one."""
        was = self.state[zone]
        full_house = bool(self.max_open) and self.count(*OPEN_STATES) == self.max_open
        victim = self.order["implicit"][0] if full_house and self.order["implicit"] else None
        new = int(was == "empty")
        if self.qemu:
            if victim is not None:
                self.enter(victim, "closed")
            status = self.resources(new, 1, int(zrwa))
        else:
            status = self.resources(new, int(victim is None), int(zrwa and zone not in self.random))
            if not status and victim is not None:
                self.enter(victim, "closed")
        if not status:
            self.enter(zone, state)
        return status

    # commands that carry data

    def check_write(self, zone: int, at: int, blocks: int) -> int:
        refusals = {"full": IS_FULL, "offline": OFFLINE, "read only": READ_ONLY}
        if self.state[zone] in refusals:
            return refusals[self.state[zone]]
        wp = self.wp[zone]
        if zone in self.random:
            if not wp <= at <= at + blocks <= wp + 2 * self.zrwa:
                return INVALID_WRITE
        elif at != wp:
            return INVALID_WRITE
        return BOUNDARY if at + blocks > self.capacity else SUCCESS

    def put(self, zone: int, at: int, blocks: int) -> int:
        status = self.check_write(zone, at, blocks)
        if not status and self.state[zone] not in OPEN_STATES:
            status = self.open_up(zone, "implicit")
        if not status:
            wp = self.wp[zone]
            if zone not in self.random:
                self.move(zone, blocks)
            elif at + blocks > wp + self.zrwa:
                excess = at + blocks - wp - self.zrwa
                self.move(zone, -(-excess // self.granularity) * self.granularity)
        return status

    def move(self, zone: int, blocks: int) -> None:
        self.wp[zone] += blocks
        if self.wp[zone] == self.capacity:
            self.enter(zone, "full")

    def write(self, slba: int, blocks: int) -> int:
        if self.largest and blocks > self.largest:
            return INVALID_FIELD
        return self.zeroes(slba, blocks)

    def zeroes(self, slba: int, blocks: int) -> int:
        if self.beyond(slba, blocks):
            return LBA_OUT_OF_RANGE
        return self.put(slba // self.size, slba % self.size, blocks)

    def append(self, slba: int, blocks: int) -> tuple[int, int]:
        """Status, and the first block that was written; -1 if none."""
        zone, at = divmod(slba, self.size)
        if self.largest and blocks > self.largest:
            return INVALID_FIELD, -1
        if self.beyond(slba, blocks):
            return LBA_OUT_OF_RANGE, -1
        if zone in self.random:
            return INVALID_ZONE_OPERATION, -1
        if at or (self.largest_append and blocks > self.largest_append):
            return INVALID_FIELD, -1
        first = self.wp[zone]
        status = self.put(zone, first, blocks)
        return status, -1 if status else slba + first

    def read(self, slba: int, blocks: int) -> int:
        if self.largest and blocks > self.largest:
            return INVALID_FIELD
        if self.beyond(slba, blocks):
            return LBA_OUT_OF_RANGE
        first, last = slba // self.size, (slba + blocks - 1) // self.size
        if self.state[first] == "offline":
            return OFFLINE
        if last > first and not self.cross_read:
            return BOUNDARY
        return OFFLINE if any(self.state[zone] == "offline" for zone in range(first, last + 1)) else SUCCESS

    # commands that manage zones

    def manage(self, action: str, slba: int = 0, *, every: bool = False, zrwa: bool = False) -> int:
        if every:
            return self.manage_all(action, zrwa)
        zone, at = divmod(slba, self.size)
        if self.beyond(slba, 1):
            return LBA_OUT_OF_RANGE
        if action == "flush":
            return self.flush(zone, at)
        if at:
            return INVALID_FIELD
        if action == "open":
            return self.open(zone, zrwa)
        if action == "extend":
            return self.extend(zone)
        one = {"close": self.close, "finish": self.finish, "reset": self.reset, "offline": self.offline}
        return one[action](zone) if action in one else INVALID_FIELD

    def manage_all(self, action: str, zrwa: bool) -> int:
        if action == "open":
            return self.open_all(zrwa)
        if action == "close":
            for zone in self.order["implicit"] + self.order["explicit"]:
                self.close(zone)
        elif action == "finish":
            for zone in self.order["closed"] + self.order["implicit"] + self.order["explicit"]:
                self.finish(zone)
        elif action in ("reset", "offline"):
            for zone, state in list(self.state.items()):
                if action == "reset" and state in (*ACTIVE_STATES, "full"):
                    self.reset(zone)
                elif action == "offline" and state == "read only":
                    self.offline(zone)
        else:
            return INVALID_FIELD
        return SUCCESS

    def open_all(self, zrwa: bool) -> int:
        if not self.qemu:
            closed = list(self.order["closed"])
            if closed and zrwa:
                wanted = [zone for zone in closed if zone not in self.random]
                if not self.zrwa:
                    return INVALID_ZONE_OPERATION
                if len(wanted) > self.left or any(self.wp[zone] % self.granularity for zone in wanted):
                    return NO_ZRWA
            if self.max_open and self.count("explicit") + len(closed) > self.max_open:
                return TOO_MANY_OPEN
            for zone in closed:
                self.open(zone, zrwa)
            return SUCCESS
        after = self.order["closed"][:1]
        while after:  # the next is looked up before a zone is opened, as a list is walked that may grow meanwhile
            zone, queue = after[0], self.order["closed"]
            at = queue.index(zone) + 1
            after = queue[at : at + 1]
            if status := self.open(zone, zrwa):
                return status
        return SUCCESS

    def open(self, zone: int, zrwa: bool) -> int:
        state = self.state[zone]
        if not self.qemu and state not in ("empty", *ACTIVE_STATES):
            return INVALID_TRANSITION
        if zrwa:
            if not self.zrwa:
                return INVALID_ZONE_OPERATION
            held = not self.qemu and zone in self.random
            start = zone * self.size if self.qemu else 0
            if not held and (start + self.wp[zone]) % self.granularity:
                return NO_ZRWA
            if not self.qemu and not held and state in OPEN_STATES and not self.left:
                return NO_ZRWA
        if state in ("empty", "closed"):
            if status := self.open_up(zone, "explicit", zrwa):
                return status
        elif state == "implicit":
            self.enter(zone, "explicit")
        elif state != "explicit":
            return INVALID_TRANSITION
        if zrwa and (self.qemu or zone not in self.random):
            self.left = (self.left - 1) % (1 << 32)
            self.random.add(zone)
        return SUCCESS

    def close(self, zone: int) -> int:
        if self.state[zone] in OPEN_STATES:
            self.enter(zone, "closed")
        return SUCCESS if self.state[zone] == "closed" else INVALID_TRANSITION

    def finish(self, zone: int) -> int:
        if self.state[zone] in ("empty", *ACTIVE_STATES):
            self.enter(zone, "full")
        return SUCCESS if self.state[zone] == "full" else INVALID_TRANSITION

    def reset(self, zone: int) -> int:
        if self.state[zone] in (*ACTIVE_STATES, "full"):
            self.enter(zone, "empty")
            self.wp[zone] = 0
        return SUCCESS if self.state[zone] == "empty" else INVALID_TRANSITION

    def offline(self, zone: int) -> int:
        if self.state[zone] == "read only":
            self.enter(zone, "offline")
        return SUCCESS if self.state[zone] == "offline" else INVALID_TRANSITION

    def extend(self, zone: int) -> int:
        if not self.extension:
            return INVALID_FIELD
        if self.state[zone] != "empty":
            return INVALID_TRANSITION
        if status := self.resources(1, 0, 0):
            return status
        self.enter(zone, "closed")
        self.extended.add(zone)
        return SUCCESS

    def flush(self, zone: int, last: int) -> int:
        wp, blocks = self.wp[zone], last - self.wp[zone] + 1
        if not self.zrwa:
            return INVALID_ZONE_OPERATION
        if zone not in self.random:
            return INVALID_FIELD
        if blocks < 1 or blocks > self.zrwa + int(self.qemu) or (wp + blocks > self.capacity and not self.qemu):
            return BOUNDARY
        if blocks % self.granularity:
            return INVALID_FIELD
        if self.state[zone] == "closed" and (status := self.open_up(zone, "implicit")):
            return status
        self.move(zone, blocks)
        return SUCCESS
