"""What the guest of `traces.workloads.vm.guest` is made of: what stays, what changes, rows to be taken away."""

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from traces.block import Op as BlockOp
from traces.table import I64, U8, U16, U32, U64
from traces.workloads.draws import SHARE, draws

if TYPE_CHECKING:
    from traces.workloads.vm_life import VmLife

T = TypeVar("T")

PAGE = 4096
PAYLOAD = 64  # bytes that tell of a commit
RECORD = 128  # bytes of the ring that it takes: a line for its header
NEVER = 1 << 62
LOGGED, DURABLE = 1, 2  # of a page: the commit under way covers it; an earlier commit holds it


def _numbers(*numbers: int) -> Any:
    """Numbers for calls: Numba compiles a function anew for every number that a call spells out, 30 s in all."""
    return tuple(np.int64(number) for number in numbers)


READ, WRITE, FLUSH = _numbers(BlockOp.READ, BlockOp.WRITE, BlockOp.FLUSH)
ONE_CPU, NOBODY, JOURNAL = _numbers(0, -1, -2)  # who waits for a command, or accesses
WORD, LINES, WHOLE = _numbers(8, RECORD, PAGE)  # sizes of accesses
NO_PAGES, A_PAGE = _numbers(0, 1)
NO_CAUSE, MEMORY, CONFIG, BLOCK, DMA = range(5)  # kinds as causes

STATE = np.dtype(
    [
        (name, "i8")
        for name in (
            "now",
            "still",  # 1: the processors do nothing
            "accesses",  # made so far
            "drawn",  # of the ranks given
            "memory",  # rows of each kind so far, those in the buffers included
            "block",
            "dma",
            "message",
            "memory_used",  # rows in the buffers
            "block_used",
            "dma_used",
            "message_used",
            "device_free",  # when the drive has done all that it was given
            "next_writeback",
            "writeback_at",  # the file block where write-back goes on, -1 where none is under way
            "writeback_limit",  # it writes what became dirty up to then
            "next_commit",
            "commit_left",  # journal blocks that the commit under way has still to write
            "committing",  # when the commit under way began, -1 where none is
            "log_at",
            "fresh",  # pages stored to since the last commit began
            "dirty",
            "hand",  # of the clock that evicts
            "head",  # commands done
            "tail",  # commands given
            "served",  # pages that the drive has moved of the command at the head
            "free",  # IOVA ranges on the stack
            "sequence",
            "ring_at",
            "crash",  # the guest knows nothing of it; commands that would complete later never do
        )
    ]
)


class Numbers(NamedTuple):
    """What does not change: pages are guest page numbers, times nanoseconds."""

    anonymous: int  # first page
    anonymous_pages: int
    cache: int
    cache_pages: int
    image: int
    image_blocks: int  # of the drive: image, journal, files, in this order
    log: int
    log_blocks: int
    file_blocks: int
    ring: int
    ring_bytes: int
    gap: float  # between two accesses of one processor
    files: int  # share of the accesses, of SHARE
    file_writes: int
    stores: int
    commit: int
    writeback: int
    expire: int
    readahead: int
    most: int  # pages of a command
    fetch: int  # from the doorbell to the drive's beginning
    page: int  # to move one
    read: int
    write: int
    flush: int
    poll: int  # of the agent that reads the ring
    deliver: int  # until the receiver has it
    lane: np.uint64  # key of all draws


class MemoryRows(NamedTuple):
    """Rows of `Memory`, and each one's cause."""

    time: I64
    op: U8
    cpu: U32
    address: U64
    size: U64
    cause: U8
    row: I64


class BlockRows(NamedTuple):
    """Rows of `Block`, and each one's cause."""

    time: I64
    op: U8
    address: U64
    length: U64
    latency: I64
    flags: U16
    cause: U8
    row: I64


class DmaRows(NamedTuple):
    """Rows of `Dma`, and each one's cause."""

    time: I64
    event: U8
    write: U8
    address: U64
    size: U64
    target: U64
    cause: U8
    row: I64


class MessageRows(NamedTuple):
    """Rows of `Message`, and each one's cause."""

    time: I64
    sequence: U64
    address: U64
    seen: I64
    cause: U8
    row: I64


class Extent(NamedTuple):
    """Blocks of the drive that follow each other."""

    first: int
    length: int


class Cause(NamedTuple):
    """A row that led to another."""

    kind: int
    row: int


class Commands(NamedTuple):
    """Commands that the drive has not done, a ring."""

    op: U8
    first: I64  # block
    length: I64
    start: I64
    done: I64
    iova: U64
    row: I64  # of the block trace
    cpu: I64  # that waits for it; -1: none, -2: the journal


class Guest(NamedTuple):
    """The whole of it."""

    fixed: Numbers
    state: NDArray[np.void]  # one row of STATE
    cpu_at: I64  # [processor] -> its next access
    slot_of: NDArray[np.int32]  # [file block] -> place in the cache, or -1
    block_of: I64  # [place] -> file block, or -1
    used: U8  # [place] since the clock's hand came by
    pinned: U8  # [place] -> commands under way
    filling: U8  # [place] -> its page is being read
    dirty_since: I64  # [place] -> time, or -1
    fresh: U8  # [place] stored to since the last commit began
    journal: U8  # [place] -> LOGGED, DURABLE: versions of it that are not in their own place on the drive yet
    writer: U8  # [page] -> kind of the row that wrote it last
    writer_row: I64
    written: I64  # [page] -> time of that
    touched: U8  # [page] -> written since a migration last looked
    iovas: U64  # stack of ranges of `most` pages
    commands: Commands
    memory: MemoryRows
    block: BlockRows
    dma: DmaRows
    message: MessageRows


def new_guest(config: "VmLife", rows: int) -> Guest:
    """A guest that was never switched on, with buffers of about ``rows`` rows.

    Its pages: programs' own, page cache, image, journal, the ring of messages, in this order.
    """
    own, cache, image, log = (n // PAGE for n in (config.memory, config.cache, config.image, config.journal))
    ring_pages = 16
    files, most = config.files // PAGE, config.largest // PAGE
    fixed = Numbers(
        anonymous=0,
        anonymous_pages=own,
        cache=own,
        cache_pages=cache,
        image=own + cache,
        image_blocks=image,
        log=own + cache + image,
        log_blocks=log,
        file_blocks=files,
        ring=own + cache + image + log,
        ring_bytes=ring_pages * PAGE,
        gap=config.processors * 1e9 / config.rate,
        files=round(config.file_share * SHARE),
        file_writes=round(config.file_writes * SHARE),
        stores=round(config.stores * SHARE),
        commit=config.commit,
        writeback=config.writeback,
        expire=config.expire,
        readahead=config.readahead // PAGE,
        most=most,
        fetch=2000,
        page=config.page_time,
        read=config.read_time,
        write=config.write_time,
        flush=config.flush_time,
        poll=config.poll,
        deliver=config.deliver,
        lane=draws(config.seed, 1)[0],
    )
    pages = fixed.ring + ring_pages
    # a page is in one command at a time, a journal's blocks in one of the last two commits
    commands = 1 << (cache + 2 * log + config.processors + 8).bit_length()
    size = max(rows, 4 * most + 64)
    state = np.zeros(1, STATE)
    state["writeback_at"] = state["committing"] = -1
    state["crash"], state["free"] = NEVER, commands
    return Guest(
        fixed=fixed,
        state=state,
        cpu_at=np.full(config.processors, NEVER, np.int64),
        slot_of=np.full(files, -1, np.int32),
        block_of=np.full(cache, -1, np.int64),
        used=np.zeros(cache, np.uint8),
        pinned=np.zeros(cache, np.uint8),
        filling=np.zeros(cache, np.uint8),
        dirty_since=np.full(cache, -1, np.int64),
        fresh=np.zeros(cache, np.uint8),
        journal=np.zeros(cache, np.uint8),
        writer=np.zeros(pages, np.uint8),
        writer_row=np.zeros(pages, np.int64),
        written=np.zeros(pages, np.int64),
        touched=np.zeros(pages, np.uint8),
        iovas=iovas(commands, most * PAGE),
        commands=_empty(Commands, commands),
        memory=_empty(MemoryRows, size),
        block=_empty(BlockRows, size),
        dma=_empty(DmaRows, size),
        message=_empty(MessageRows, size),
    )


def iovas(count: int, size: int) -> U64:
    """A stack of ranges, downwards from 4 GiB, then from 2**48, which is Linux's order for PCI devices."""
    low = min(count, (1 << 32) // size - 1)
    ranks = np.arange(1, count + 1)
    ends = np.where(ranks <= low, 1 << 32, (1 << 48) + low * size)
    return (ends - ranks * size).astype(np.uint64)[::-1].copy()


def _empty(table: type[T], length: int) -> T:
    """Arrays of a struct of plain arrays, not yet filled."""
    hints = get_type_hints(table)
    return table(**{name: np.zeros(length, get_args(get_args(hint)[1])[0]) for name, hint in hints.items()})
