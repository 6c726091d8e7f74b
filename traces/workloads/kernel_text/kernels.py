"""How patches of kernel text follow each other: the kernels of `traces.workloads.text_patches`.

Lean kernels, a patch at a time: counting the owners of so many arrays for every row took longer than the rows did.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.kernel import lean_kernel
from traces.table import I64, U8, U32, U64
from traces.workloads.draws import below, draw, ln, unit
from traces.workloads.kernel_text.sites import LONGER, PROCEDURES, Kind, Pool, Sites
from traces.workloads.zipf import Law, draw_ranks


class Attempt(IntEnum):
    """What is wrong with a row."""

    NOTHING = 0
    DIRECT = 1
    PROCEDURE = 2
    UNLISTED = 3
    OVERLONG = 4
    DIFFERENT = 5
    BREAKPOINT = 6


PATHS = ("", "direct", "text_poke_bp", "text_poke", "text_poke_early", "module_alloc", "module_memfree")
_DIRECT, _BP, _POKE, _EARLY, _ALLOC, _FREE = range(1, 7)
STEPS = ("", "breakpoint", "tail", "first", "whole", "overlong", "different", "unlisted")
PROCEDURE_NAMES = ("", *PROCEDURES.values(), "patch_by_hand")
_STATE = np.dtype([(name, "i8") for name in ("event", "step", "steps", "kind", "group", "wrong", "alternative")])
_CLOCK = np.dtype([("now", "f8"), ("due", "f8")])


class Plan(NamedTuple):
    """What the kernel takes of a configuration."""

    first: I64  # [kind] -> its first site
    together: I64  # [kind]
    laws: tuple[Law, ...]  # [kind]
    chances: U64  # [kind]: draws below are of this kind or one before
    wrong: U64  # [attempt]: draws below are this attempt or one before; the last is what is nothing of the sort
    times: tuple[float, float, float]  # mean gap, write, wait: nanoseconds
    cpus: int
    keys: U64


class Fixed(NamedTuple):
    """What does not change."""

    plan: Plan
    sites: Sites
    pool: Pool


class Kept(NamedTuple):
    """What is kept from row to row."""

    now: U8  # [site] -> the variant that stands there
    state: NDArray[np.void]  # the patch under way
    clock: NDArray[np.void]
    scratch: U64


class Out(NamedTuple):
    """A batch, texts as codes."""

    time: U64
    address: U64
    length: U32
    old: U32
    new: U32
    symbol: U32
    procedure: U8
    path: U8
    cpu: U32
    pid: U32
    step: U8
    wrong: U8


@lean_kernel
def _next(plan: Plan, kept: Kept) -> None:
    """Draw the next patch or attempt: what, where, when."""
    s, c, scratch = kept.state[0], kept.clock[0], kept.scratch
    number = np.uint64(s.event)
    c.due -= plan.times[0] * ln(unit(draw(plan.keys[0], number)))
    c.now = max(c.now, c.due)
    bits = draw(plan.keys[1], number) >> np.uint64(11)
    s.wrong = 0
    for attempt in range(1, 7):
        if bits < plan.wrong[attempt]:
            s.wrong = attempt
            break
    bits = draw(plan.keys[2], number) >> np.uint64(11)
    kind = 0
    while bits >= plan.chances[kind]:
        kind += 1
    draw_ranks(plan.laws[kind], plan.keys[3], plan.keys[4], s.event, scratch)
    together = plan.together[kind]
    s.kind, s.group, s.step = kind, np.int64(scratch[0]), 0
    if s.wrong:
        s.steps = 1
    elif kind <= Kind.BPF:
        s.steps = 3 * together
    elif kind == Kind.MODULE:
        loaded = kept.now[plan.first[kind] + s.group * together]
        s.steps = together if loaded else 2 * together
    else:
        s.steps = 1
    s.event += 1


@lean_kernel
def _attempt(fixed: Fixed, kept: Kept, out: Out, i: int) -> None:
    """Fill the row of an attempt."""
    plan, sites, pool, now, s, c = fixed.plan, fixed.sites, fixed.pool, kept.now, kept.state[0], kept.clock[0]
    number, wrong = np.uint64(s.event - 1), s.wrong
    bits = draw(plan.keys[7], number)
    out.time[i], out.cpu[i] = np.uint64(c.now), below(bits, np.uint64(plan.cpus))
    out.pid[i] = np.uint64(1) + (bits & np.uint64(0x7FFE))
    c.now += plan.times[1]
    s.step = 1
    out.wrong[i], out.path[i], out.length[i] = wrong, _BP, 5
    if wrong == Attempt.DIRECT or wrong == Attempt.UNLISTED or wrong == Attempt.BREAKPOINT:
        n = np.int64(below(draw(plan.keys[5], number), np.uint64(pool.place.size)))
        out.address[i], out.symbol[i] = pool.place[n], pool.symbol[n]
        out.old[i], out.new[i] = pool.old[n], pool.new[n]
        out.procedure[i], out.step[i] = Kind.JUMP_LABEL + 1, 7
        if wrong == Attempt.DIRECT:
            out.procedure[i], out.path[i], out.step[i] = 0, _DIRECT, 4
        elif wrong == Attempt.BREAKPOINT:
            out.procedure[i], out.path[i], out.step[i] = Kind.KPROBE + 1, _POKE, 1
            out.old[i], out.new[i], out.length[i] = pool.first[n], 1, 1
        return
    n = np.int64(below(draw(plan.keys[5], number), np.uint64(pool.site.size)))
    site = pool.site[n]
    before, after = now[site], 1 - now[site] if now[site] < 2 else 0
    out.address[i], out.symbol[i], out.procedure[i] = sites.address[site], sites.symbol[site], sites.kind[site] + 1
    out.old[i], out.new[i], out.step[i] = sites.whole[site, before], sites.whole[site, after], 4
    if wrong == Attempt.PROCEDURE:
        out.procedure[i] = 8
    elif wrong == Attempt.OVERLONG:
        out.old[i], out.new[i], out.length[i] = pool.longer_old[n, before], pool.longer_new[n, after], 5 + LONGER
        out.step[i] = 5
    else:
        out.new[i], out.step[i] = pool.differs[n], 6


@lean_kernel
def _write(fixed: Fixed, kept: Kept, out: Out, i: int) -> int:
    """Fill rows from ``i`` on with the writes of the patch under way, as far as there is room; where they end."""
    plan, sites, now, s, c = fixed.plan, fixed.sites, kept.now, kept.state[0], kept.clock[0]
    kind, together, first, step = (
        s.kind,
        plan.together[s.kind],
        plan.first[s.kind] + s.group * plan.together[s.kind],
        s.step,
    )
    between, wait = plan.times[1], plan.times[2]
    bits, clock = draw(plan.keys[7], np.uint64(s.event - 1)), c.now
    cpu, pid = below(bits, np.uint64(plan.cpus)), np.uint64(1) + (bits & np.uint64(0x7FFE))
    turn = np.int64(below(draw(plan.keys[6], np.uint64(s.event - 1)), np.uint64(2)))
    while i < out.time.size and step < s.steps:
        site = first + step % together
        before = now[site]
        after = 1 - before if before < 2 else 0
        out.time[i], out.address[i], out.symbol[i] = np.uint64(clock), sites.address[site], sites.symbol[site]
        out.procedure[i], out.cpu[i], out.pid[i], out.wrong[i] = kind + 1, cpu, pid, 0
        clock += between
        if kind <= Kind.BPF:
            part = step // together
            if kind == Kind.STATIC_CALL:
                after = (before + 1 + turn) % 3
            out.path[i], out.length[i], out.step[i] = _BP, 1, 1 + part
            if part == 0:
                out.old[i], out.new[i] = sites.first[site, before], 1
            elif part == 1:
                out.address[i] += np.uint64(1)
                out.old[i], out.new[i], out.length[i] = sites.tail[site, before], sites.tail[site, after], 4
            else:
                out.old[i], out.new[i] = 1, sites.first[site, after]
                now[site] = after
            if step % together == together - 1:
                clock += wait
        else:
            out.path[i], out.length[i], out.step[i] = _POKE, sites.length[site], 4
            if kind == Kind.MODULE:
                after = 0 if before == 2 else before + 1
                out.path[i] = _FREE if before == 2 else _EARLY if before == 1 else _ALLOC
            out.old[i], out.new[i] = sites.whole[site, before], sites.whole[site, after]
            now[site] = after
        step += 1
        i += 1
    s.step, c.now = step, clock
    return i


@lean_kernel
def _start(fixed: Fixed, kept: Kept, out: Out, i: int) -> int:
    """Fill rows from ``i`` on with the alternatives, which are patched while the kernel starts; where they end."""
    plan, sites, s, c = fixed.plan, fixed.sites, kept.state[0], kept.clock[0]
    while i < out.time.size and s.alternative >= 0:
        site = plan.first[Kind.ALTERNATIVES] + s.alternative
        out.time[i] = np.uint64(c.now)
        out.address[i], out.length[i], out.symbol[i] = sites.address[site], sites.length[site], sites.symbol[site]
        out.old[i], out.new[i] = sites.whole[site, 0], sites.whole[site, 1]
        out.procedure[i], out.path[i], out.step[i], out.wrong[i] = Kind.ALTERNATIVES + 1, _EARLY, 4, 0
        out.cpu[i] = out.pid[i] = 0
        c.now += plan.times[1]
        c.due = c.now
        s.alternative = s.alternative + 1 if site + 1 < sites.address.size else -1
        i += 1
    return i


@lean_kernel
def fill(fixed: Fixed, kept: Kept, out: Out) -> None:
    """The next rows."""
    s = kept.state[0]
    i = _start(fixed, kept, out, 0)
    while i < out.time.size:
        if s.step == s.steps:
            _next(fixed.plan, kept)
        if s.wrong:
            _attempt(fixed, kept, out, i)
            i += 1
        else:
            i = _write(fixed, kept, out, i)


def new_kept(sites: int, alternatives: int) -> Kept:
    """At the trace's beginning."""
    state = np.zeros(1, _STATE)
    state["alternative"] = 0 if alternatives else -1
    return Kept(np.zeros(sites, np.uint8), state, np.zeros(1, _CLOCK), np.zeros(1, np.uint64))


def new_out(rows: int) -> Out:
    """Room for so many rows."""
    wide = {"time": np.uint64, "address": np.uint64, "procedure": np.uint8, "path": np.uint8, "step": np.uint8}
    return Out(*(np.empty(rows, wide.get(name, np.uint8 if name == "wrong" else np.uint32)) for name in Out._fields))
