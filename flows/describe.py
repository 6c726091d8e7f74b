"""What the verbs show of a trace's character: which stages it can feed, its profile, what an export left out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flows.terminal import Output, bytes_text, text
from traces import fitness as judging
from traces.fitness import Fact, Fit, Verdict
from traces.info import TraceInfo
from traces.profile import TraceDistinct, TraceOperations, TraceProfile, TraceRegions, kept_profile
from traces.store import Store
from traces.table import columns_of, name_of

if TYPE_CHECKING:
    from traces.export import Exported
    from traces.profile import Profiled

Row = dict[str, Any]


def _fitness(store: Store, kind: str, name: str, info: TraceInfo) -> tuple[list[Fact], list[Verdict]]:
    from pipeline import STAGES

    return judging.fitness(info, judging.look(store, kind, name, info), STAGES.values())


def fitness_data(store: Store, kind: str, name: str, info: TraceInfo) -> Row:
    """Facts and verdicts, for JSON."""
    facts, verdicts = _fitness(store, kind, name, info)
    return {
        "facts": [fact._asdict() | {"spoils": sorted(fact.spoils)} for fact in facts],
        "fitness": [verdict._asdict() for verdict in verdicts],
    }


def feeds(store: Store, kind: str, name: str, info: TraceInfo) -> Row:
    """The stages that a trace can feed, in a line or three."""
    _, verdicts = _fitness(store, kind, name, info)
    lines = {Fit.YES: "feeds", Fit.CARE: "feeds with care", Fit.NO: "cannot feed"}
    shown: Row = {}
    for fit, key in lines.items():
        stages = [_told(verdict) for verdict in verdicts if verdict.fit == fit]
        shown |= {key: "; ".join(stages)} if stages else {}
    return shown


def _told(verdict: Verdict) -> str:
    return f"{verdict.stage} ({', '.join(verdict.because)})" if verdict.because else verdict.stage


def fitness(out: Output, kind: str, name: str, info: TraceInfo) -> None:
    """What is to be known of a trace, and which stages it can feed."""
    facts, verdicts = _fitness(out.store, kind, name, info)
    if facts:
        out.text("")
        out.table([{"to know": fact.fact, "meaning": fact.meaning} for fact in facts])
    out.text("")
    out.table([{"stage": v.stage, "can be fed": v.fit.value, "because": ", ".join(v.because)} for v in verdicts])


def profile_data(store: Store, kind: str, name: str, info: TraceInfo) -> Row:
    """The profile that is kept of a trace, for JSON; null where there is none."""
    return {"profile": _rows(store, kind, name, info, TraceProfile)}


def _rows(store: Store, kind: str, name: str, info: TraceInfo, table: type[Any]) -> list[Row] | None:
    """The rows of one table of a kept profile, with None where a figure is not known."""
    import polars as pl

    folder = kept_profile(store, kind, name, info.content)
    if folder is None:
        return None
    unknown = {column.name: column.unknown for column in columns_of(table)}
    rows = pl.read_parquet(folder / f"{name_of(table)}.parquet").to_dicts()
    return [
        {key: None if unknown[key] is not None and value == unknown[key] else value for key, value in row.items()}
        for row in rows
    ]


def figures(out: Output, kind: str, name: str, info: TraceInfo) -> None:
    """The whole trace's profile, a figure a line; how to make one where there is none."""
    rows = _rows(out.store, kind, name, info, TraceProfile)
    if rows is not None:
        out.text("")
        _figures(out, rows)
    else:
        out.hint(f"strata profile {kind}/{name}: sizes, footprint, reuse, skew and arrivals of this trace")


def _figures(out: Output, rows: Sequence[Row]) -> None:
    meaning = {column.name: column.doc for column in columns_of(TraceProfile)}
    out.table(
        [
            {"figure": key, "value": text(value), "meaning": meaning[key]}
            for key, value in rows[0].items()
            if value is not None
        ],
        title="profile",
    )


def profiled(out: Output, made: "Profiled") -> None:
    """A profile: figures of the whole trace, its top regions; of its volumes and over time where to ask."""
    store, info = out.store, out.store.info(made.kind, made.name)
    rows = _rows(store, made.kind, made.name, info, TraceProfile) or []
    regions = _rows(store, made.kind, made.name, info, TraceRegions) or []
    distinct = _rows(store, made.kind, made.name, info, TraceDistinct) or []
    operations = _operations(_rows(store, made.kind, made.name, info, TraceOperations) or [])
    if out.json:
        told = {"trace": made.name, "kind": made.kind, "fresh": made.fresh, "seconds": made.seconds}
        out.document(told | {"profile": rows, "regions": regions, "operations": operations, "distinct": distinct})
        return
    _figures(out, rows)
    out.text("")
    out.table(operations, title="operations")
    if distinct:
        out.text("")
        out.table(distinct, title="how many different ones")
    if regions:
        out.text("")
        shown = ("volume", "address", "length", "reads", "writes", "share")
        out.table([{key: row[key] for key in shown} for row in regions[:5]], title="top regions")
    which = f"WHERE trace = '{made.name}'"
    out.note(f'by volume: strata sql "FROM trace_profile {which}"; over time: strata sql "FROM trace_windows {which}"')
    if not made.fresh:
        out.note("kept already: nothing was done")


def _operations(windows: Sequence[Row]) -> list[Row]:
    """Rows of `TraceOperations` put together: an operation a row, the most frequent first."""
    total: dict[str, list[int]] = {}
    for row in windows:
        sums = total.setdefault(row["operation"], [0, 0])
        sums[0] += row["requests"]
        sums[1] += row["bytes"]
    ordered = sorted(total.items(), key=lambda each: -each[1][0])
    return [{"operation": name, "requests": requests, "bytes": count} for name, (requests, count) in ordered]


def exported(out: Output, done: "Exported") -> None:
    """What was written, and what the format does not carry."""
    told: Row = {
        "trace": done.trace,
        "format": done.format,
        "file": str(done.path),
        "requests": done.rows,
        "written": done.written,
        "bytes": done.bytes,
        "seconds": done.seconds,
    }
    if out.json:
        out.document(told | {"lost": done.lost})
        return
    out.record(told, told | {"bytes": bytes_text(done.bytes)})
    out.table([{"times": count, "not carried": sentence} for sentence, count in done.lost.items()])
