"""What the verbs show of runs: one with all that is known of it, or those of a grid with their figures."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from flows.settings import brief
from flows.show import REFUSED, SHOWN, Row, ready, rows
from flows.terminal import Output, text
from traces.errors import TraceError, nearest
from traces.table import columns_of, name_of

if TYPE_CHECKING:
    from flows.jobs import Grid
    from pipeline.stage import Stage


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
    out.table([{"key": key, "value": brief(value)} for key, value in config.items()], title="configuration")
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
    grouped = {name: {run: list[Row]() for run in ids} for name in found}
    for name, its in found.items():
        for row in its:
            grouped[name][row["run"]].append(row)
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
                    **{name: of_run[each.run] for name, of_run in grouped.items()},
                }
                for each in grid.runs
            ]
        )
        return
    for table in summaries:
        docs = {column.name: column.doc for column in columns_of(table)}
        by_run = grouped[name_of(table)]
        _alert(out, {key: docs[key] for key in stage.alerts if key in docs}, by_run)
        if len(ids) == 1 and len(by_run[ids[0]]) == 1:
            row = by_run[ids[0]][0]
            out.table([{"figure": k, "value": text(v), "meaning": docs[k]} for k, v in row.items() if k in docs])
            continue
        several = [next(iter(docs))] if any(len(rows) > 1 for rows in by_run.values()) else []
        shown: list[Row] = []
        for each in grid.runs:
            settings = {key: brief(each.config[key]) for key in grid.varied}
            shown += [row | settings | {"run": each.run[:8]} for row in by_run[each.run]]
        if shown:
            headline = [key for key in stage.headline if key in docs and any(row[key] is not None for row in shown)]
            _headline(out, table, shown, ["run", *grid.varied, *several], headline)
    for key, why in grid.idle.items():
        out.note(f"{key} has no effect {why}: runs of such settings have it at its default, and are made once")
    others = [name_of(table) for table in stage.writes if table not in summaries]
    if others and ids:
        out.note(f"beside it, as far as the configuration asks for them: {', '.join(others)}")


def _alert(out: Output, docs: Mapping[str, str], by_run: Mapping[str, Sequence[Row]]) -> None:
    """Tell of figures that are not 0 and should be: a line for each and run, with the volumes that have it."""
    for key, doc in docs.items():
        hit = {run: found for run, its in by_run.items() if (found := [row for row in its if row[key]])}
        for run, found in list(hit.items())[:REFUSED]:
            most = max(found, key=lambda row: float(row[key]))
            whose = f", volume {most['volume']}" if "volume" in most else ""
            told = f"{key} {text(most[key])}"
            if len(found) > 1:
                told = f"{key} in {len(found):,} of {len(by_run[run]):,} rows, at most {text(most[key])}{whose}"
                whose = ""
            out.note(f"run {run[:8]}{whose}: {told} - {doc}")
        if len(hit) > REFUSED:
            out.note(f"{key}: and {len(hit) - REFUSED:,} runs more")


def _headline(out: Output, table: type[Any], shown: list[Row], always: list[str], headline: list[str]) -> None:
    """The stage's headline figures, from the first as far as the terminal has room; of many rows the first."""

    def width(key: str) -> int:
        return max(len(key), *(len(text(row[key])) for row in shown)) + 3  # and what stands between columns

    total, shown = len(shown), shown[: max(SHOWN, len({row["run"] for row in shown}))]
    room = out.width - sum(width(key) for key in always)
    keep = [key for key, taken in zip(headline, accumulate(map(width, headline)), strict=True) if taken <= room]
    out.table([{key: row[key] for key in [*always, *keep]} for row in shown])
    if total > len(shown):
        out.note(f'{total - len(shown):,} more rows: strata sql "FROM {name_of(table)}"')
    if hidden := len({column.name for column in columns_of(table)} - {*always, *keep}):
        out.note(f'{hidden} more figures: strata sql "FROM {name_of(table)}"')
