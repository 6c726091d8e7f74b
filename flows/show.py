"""What the verbs show: rows about traces, runs, stages, formats and generators."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from flows import describe
from flows.terminal import Output, bytes_text, span_text, text
from traces.catalog import connect, is_current
from traces.errors import StoreError, TraceError, nearest
from traces.info import TraceInfo
from traces.kinds import KINDS
from traces.store import Store, read
from traces.table import columns_of, name_of

if TYPE_CHECKING:
    import duckdb

    from flows.jobs import Grid
    from pipeline.stage import Stage
    from traces.made import Ingested

Row = dict[str, Any]

_REFUSED = 5  # refused rows that `ingest` prints


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
    return connect(store)


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
        others = info.total("requests") - info.total("reads") - info.total("writes")
        facts |= {"others": f"{others:,}"} if others else {}
        facts |= describe.feeds(out.store, each.kind, each.name, info)
        out.record(facts)
        _notes(out, info)
        _refused(out, each.kind, each.name, info)
        out.text("")


def _notes(out: Output, info: TraceInfo) -> None:
    """What was odd, most often first."""
    notes = sorted(info.notes.items(), key=lambda note: -note[1])
    out.table([{"times": count, "note": sentence} for sentence, count in notes])


def _refused(out: Output, kind: str, name: str, info: TraceInfo) -> None:
    from traces.ledger import Refused

    if not info.refused:
        return
    first = next(read(Refused, out.store.refused_path(kind, name), rows=_REFUSED)).head(_REFUSED)
    out.table(first.to_dicts(), title="refused rows")
    if info.refused > _REFUSED:
        out.note(f"{info.refused - _REFUSED:,} more: strata sql \"FROM refused WHERE trace = '{name}'\"")


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
    if info.options:
        facts["asked"] = ", ".join(f"{key}={value}" for key, value in info.options.items() if value != "")
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
    out.table(volumes[:20], title="volumes")
    if len(volumes) > 20:
        out.note(f"{len(volumes) - 20:,} more: strata sql \"FROM volumes WHERE trace = '{name}'\"")
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


def _clock(info: TraceInfo) -> str:
    """The source's clock and what it said at the first record."""
    if info.clock != "unix":
        return f"{info.clock}, {info.origin} ns at the first record"
    seconds, rest = divmod(info.origin, 10**9)
    return f"unix, first record at {datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest:09d} UTC"


def run(out: Output, wanted: str) -> None:
    """One run, given by its id or the beginning of it: configuration and tables."""
    with ready(out) as db:
        found = rows(db, "SELECT * FROM runs WHERE starts_with(run, ?)", [wanted])
        if len(found) != 1:
            names = [name for _, name in out.store.traces()]
            raise TraceError(
                f"'{wanted}' begins the ids of {len(found)} runs; give more of it"
                if found
                else f"no trace and no run '{wanted}' in {out.root}{nearest(wanted, names)}"
            )
        import json

        told = found[0]
        told["config"] = json.loads(told["config"])
        tables = rows(
            db, "SELECT DISTINCT table_name FROM duckdb_columns() WHERE column_name = 'run' AND NOT internal ORDER BY 1"
        )
        counts = []
        for name in (each["table_name"] for each in tables if each["table_name"] != "runs"):
            count = rows(db, f"SELECT count(*) AS rows FROM {name} WHERE run = ?", [told["run"]])[0]["rows"]
            if count:
                counts.append({"table": name, "rows": count})
    if out.json:
        out.document(told | {"tables": counts})
        return
    config = told.pop("config")
    out.record({key: value for key, value in told.items() if key != "began"})
    out.text("")
    out.table([{"key": key, "value": str(value)} for key, value in config.items()], title="configuration")
    out.text("")
    out.table(counts, title="tables")
    if not out.quiet and counts:
        out.note(f"strata sql \"FROM {counts[0]['table']} WHERE run = '{told['run']}'\"")


def replayed(out: Output, stage: "Stage[Any]", grid: "Grid") -> None:
    """The runs of a grid with the figures of the stage's summaries."""
    summaries = [table for table in stage.writes if name_of(table).endswith("_summary")]
    ids = [each.run for each in grid.runs]
    with ready(out) as db:
        marks = ", ".join("?" * len(ids))
        found = {
            name_of(table): rows(db, f"SELECT * FROM {name_of(table)} WHERE run IN ({marks})", ids) if ids else []
            for table in summaries
        }
    if out.json:
        out.document(
            [
                {
                    "run": each.run,
                    "trace": each.trace,
                    "stage": each.stage,
                    "config": each.config,
                    "fresh": each.fresh,
                    "seconds": each.seconds,
                    "requests": each.requests,
                    **{name: [row for row in found[name] if row["run"] == each.run] for name in found},
                }
                for each in grid.runs
            ]
        )
        return
    for table in summaries:
        docs = {column.name: column.doc for column in columns_of(table)}
        by_run = {run: [row for row in found[name_of(table)] if row["run"] == run] for run in ids}
        if len(ids) == 1 and len(by_run[ids[0]]) == 1:
            row = by_run[ids[0]][0]
            out.table([{"figure": k, "value": text(v), "meaning": docs[k]} for k, v in row.items() if k in docs])
            continue
        several = [next(iter(docs))] if any(len(rows) > 1 for rows in by_run.values()) else []
        shown: list[Row] = []
        for each in grid.runs:
            settings = {key: each.config[key] for key in grid.varied}
            shown += [row | settings | {"run": each.run[:8]} for row in by_run[each.run]]
        if shown:
            headline = [key for key in stage.headline if key in docs]
            _headline(out, table, shown, ["run", *grid.varied, *several], headline)


def _headline(out: Output, table: type[Any], shown: list[Row], always: list[str], headline: list[str]) -> None:
    """The stage's headline figures, from the first as far as the terminal has room."""

    def width(key: str) -> int:
        return max(len(key), *(len(text(row[key])) for row in shown)) + 3  # and what stands between columns

    room = out.width - sum(width(key) for key in always)
    keep = [key for key, taken in zip(headline, accumulate(map(width, headline)), strict=True) if taken <= room]
    out.table([{key: row[key] for key in [*always, *keep]} for row in shown])
    if hidden := len({column.name for column in columns_of(table)} - {*always, *keep}):
        out.note(f'{hidden} more figures: strata sql "FROM {name_of(table)}"')


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


def trace_names(store: Store) -> list[Row]:
    """Every trace of the store, a row each."""
    return [trace_row(kind, name, store.info(kind, name)) for kind, name in store.traces()]
