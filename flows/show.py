"""What the verbs show: rows about traces, runs, stages, formats and generators."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flows import describe
from flows.terminal import Output, bytes_text, span_text
from traces.catalog import connect, is_current, left_out
from traces.errors import StoreError, nearest
from traces.info import TraceInfo
from traces.kinds import KINDS
from traces.store import read
from traces.usable import Infos, usable

if TYPE_CHECKING:
    import duckdb

    from traces.made import Ingested

Row = dict[str, Any]

SHOWN = 20  # rows of a table that may have thousands
REFUSED = 5  # refused rows that `ingest` prints


def ready(out: Output) -> "duckdb.DuckDBPyConnection":
    """The catalog, read-only; published first where it is missing or tells less than the store holds."""
    store = out.store
    if not store.root.exists():
        raise StoreError(
            f"no store at {store.root}: `strata ingest FILE` or `strata demo` makes one, --store names one"
        )
    if not is_current(store):
        from flows.catalog import publish

        try:
            publish(store)
        except StoreError as error:
            if not store.catalog.exists():
                raise
            out.note(f"the catalog tells less than the store holds and cannot be made anew: {error}")
    _left_out(out, left_out(store))
    return connect(store)


def _left_out(out: Output, traces: Mapping[str, str]) -> None:
    for name, why in traces.items():
        out.note(f"trace {name} is left out: {why}")


def rows(db: "duckdb.DuckDBPyConnection", sql: str, values: Sequence[Any] = ()) -> list[Row]:
    """The answer to a query, a dict a row."""
    answer = db.execute(sql, list(values))
    names = [column[0] for column in answer.description or ()]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def trace_row(kind: str, name: str, info: TraceInfo) -> Row:
    """A trace in a few words."""
    return {
        "trace": name,
        "kind": kind,
        "format": info.format,
        "rows": info.rows,
        "reads": info.total("reads"),
        "writes": info.total("writes"),
        "read": bytes_text(info.total("bytes_read")),
        "written": bytes_text(info.total("bytes_written")),
        "volumes": len(info.volumes),
        "span": span_text(info.span),
        "refused": info.refused,
    }


def trace_data(kind: str, name: str, info: TraceInfo) -> Row:
    """All that is known of a trace."""
    from dataclasses import asdict

    return {"trace": name, **asdict(info), "kind": kind}


def ingested(out: Output, made: Iterable["Ingested"]) -> None:
    """What was read, refused and found odd."""
    made = list(made)
    if out.json:
        out.document(
            [
                trace_data(each.kind, each.name, each.info)
                | describe.fitness_data(out.store, each.kind, each.name, each.info)
                | {"path": str(each.path), "fresh": each.fresh, "seconds": each.seconds}
                for each in made
            ]
        )
        return
    for each in made:
        info = each.info
        speed = f" ({info.rows / each.seconds:,.0f} rows/s)" if each.fresh and each.seconds else ""
        facts: Row = {
            "trace": each.name if each.fresh else f"{each.name} (kept already: nothing was done)",
            "kind": each.kind,
            "format": info.format if info.reason in ("", "generated") else f"{info.format}: {info.reason}",
            "read": f"{info.rows:,} rows in {each.seconds:.2f} s{speed}" if each.fresh else f"{info.rows:,} rows",
            "refused": f"{info.refused:,} rows",
            "moved": f"{info.moved:,} rows stood after a later one",
            "duplicated": f"{info.duplicated:,} rows repeat an earlier one (kept)",
            "span": f"{span_text(info.span)}, clock {info.clock}",
            "volumes": len(info.volumes),
            "reads": f"{info.total('reads'):,} ({bytes_text(info.total('bytes_read'))})",
            "writes": f"{info.total('writes'):,} ({bytes_text(info.total('bytes_written'))})",
        }
        facts |= {"others": f"{info.others:,}"} if info.others else {}
        facts |= describe.feeds(out.store, each.kind, each.name, info)
        out.record(facts)
        _notes(out, info)
        _refused(out, each.kind, each.name, info)
        out.text("")
    _left_out(out, left_out(out.store))


def _notes(out: Output, info: TraceInfo) -> None:
    """What was odd, most often first; sentences that differ in a number in the order of the number."""
    notes = sorted(info.notes.items(), key=lambda note: (-note[1], _by_numbers(note[0])))
    out.table([{"times": count, "note": sentence} for sentence, count in notes])


def _by_numbers(sentence: str) -> list[Any]:
    """A sentence such that 13.1 s is before 113.6 s: text and numbers in turn."""
    parts: list[Any] = re.split(r"(\d+(?:\.\d+)?)", sentence)
    parts[1::2] = map(float, parts[1::2])
    return parts


def _refused(out: Output, kind: str, name: str, info: TraceInfo) -> None:
    from traces.ledger import Refused

    if not info.refused:
        return
    first = next(read(Refused, out.store.refused_path(kind, name), rows=REFUSED)).head(REFUSED)
    out.table(first.to_dicts(), title="refused rows")
    if info.refused > REFUSED:
        out.note(f"{info.refused - REFUSED:,} more: strata sql \"FROM refused WHERE trace = '{name}'\"")


def trace(out: Output, kind: str, name: str, first: int) -> None:
    """One trace: what is known of it, its volumes, its first rows."""
    store = out.store
    info = store.info(kind, name)
    head: list[Row] = []
    if first:
        head = next(read(KINDS[kind], store.trace_path(kind, name), rows=first)).head(first).to_dicts()
    if out.json:
        told = describe.fitness_data(store, kind, name, info) | describe.profile_data(store, kind, name, info)
        out.document(trace_data(kind, name, info) | told | {"first": head})
        return
    facts = trace_row(kind, name, info)
    facts |= {"format": f"{info.format}: {info.reason}" if info.reason else info.format, "content": info.content}
    facts |= {"moved": info.moved, "duplicated": info.duplicated, "clock": _clock(info)}
    if asked := _asked(info):
        facts["asked"] = ", ".join(f"{key}={value}" for key, value in asked.items())
    out.record(facts)
    _notes(out, info)
    volumes = [
        {
            "volume": index,
            "name": v.name,
            "requests": v.requests,
            "reads": v.reads,
            "writes": v.writes,
            "read": bytes_text(v.bytes_read),
            "written": bytes_text(v.bytes_written),
            "extent": bytes_text(v.extent),
        }
        for index, v in enumerate(info.volumes)
    ]
    out.text("")
    out.table(volumes[:SHOWN], title="volumes")
    if len(volumes) > SHOWN:
        out.note(f"{len(volumes) - SHOWN:,} more: strata sql \"FROM volumes WHERE trace = '{name}'\"")
    describe.fitness(out, kind, name, info)
    describe.figures(out, kind, name, info)
    if info.sources:
        out.text("")
        out.table(
            [{"file": s.file, "size": bytes_text(s.bytes), "sha256": s.sha256} for s in info.sources], title="sources"
        )
    if head:
        out.text("")
        out.table(head, title=f"first {len(head)} rows")


def _asked(info: TraceInfo) -> Row:
    """What was asked for, without what means nothing to the format."""
    from dataclasses import fields

    from traces.formats import FORMATS
    from traces.formats.reader import Options

    recorded = FORMATS.get(info.format)
    idle = {each.name for each in fields(Options)} - recorded.declares if recorded else set()
    return {key: value for key, value in info.options.items() if value != "" and key not in idle}


def _clock(info: TraceInfo) -> str:
    """The source's clock and what it said at the first record."""
    if info.clock != "unix":
        return f"{info.clock}, {info.origin} ns at the first record"
    seconds, rest = divmod(info.origin, 10**9)
    return f"unix, first record at {datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest:09d} UTC"


def keys(out: Output, config: type[Any]) -> None:
    """The keys of a configuration: what each is if it is not set, what it may be, what it means."""
    from traces.config import keys as keys_of

    if out.json:
        out.document(
            [
                {"key": key.name, "type": key.kind, "default": key.default, "bounds": key.bounds, "meaning": key.doc}
                for key in keys_of(config)
            ]
        )
        return
    told = {"key": "default (type, bounds)\nmeaning"}
    for key in keys_of(config):
        allowed = ", ".join(filter(None, (key.kind, key.bounds)))
        told[key.name] = f"{key.default} ({allowed})\n{key.doc}"
    out.page(told)


def known(what: str, name: str, names: Mapping[str, Any]) -> Any:
    """An entry of a registry; ConfigError with the nearest name."""
    from traces.errors import ConfigError

    if name not in names:
        raise ConfigError(f"unknown {what} '{name}'{nearest(name, names)}")
    return names[name]


_LEAST = ("refused", "span", "volumes", "written", "read", "writes", "reads", "format")  # first to be dropped first


def traces(out: Output) -> bool:
    """Every trace of the store, a row each; whether there is any."""
    infos, wrong = usable(out.store)
    _listed(out, infos)
    _left_out(out, wrong)
    return bool(infos or wrong)


def named(out: Output, name: str, kinds: Iterable[str]) -> None:
    """The traces of several kinds that share a name, and how to name one of them."""
    infos = {(kind, name): out.store.info(kind, name) for kind in kinds}
    _listed(out, infos)
    out.note(f"one of them is named with its kind: strata show {min(infos)[0]}/{name}")


def _listed(out: Output, infos: Infos) -> None:
    if out.json:
        out.document([trace_data(*each, info) for each, info in infos.items()])
    else:
        out.table([trace_row(*each, info) for each, info in infos.items()], least=_LEAST)
