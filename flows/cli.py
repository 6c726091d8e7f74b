"""The command line: every verb calls the functions of `flows.jobs` at once, or as a Prefect flow run.

Nothing heavy is imported before a verb needs it: `strata --help` must answer at once.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows import tools
from flows.terminal import Output
from flows.verbs import (
    FlowOption,
    JsonOption,
    NameOption,
    QuietOption,
    ReplaceOption,
    StoreOption,
    VerboseOption,
    perform,
    trace_names,
    verb,
)

app = typer.Typer(
    name="strata",
    help="Replay recorded or generated memory and storage traces through emulated layers, and query what comes of it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _stages(incomplete: str) -> list[str]:
    """Names of stages, for the shell."""
    from pipeline import STAGES

    return [name for name in STAGES if name.startswith(incomplete)]


def _formats(incomplete: str) -> list[str]:
    """Names of recorded formats, for the shell."""
    from traces.formats import FORMATS

    return [name for name in FORMATS if name.startswith(incomplete)]


def _workloads(incomplete: str) -> list[str]:
    """Names of generators, for the shell."""
    from traces.workloads.worlds import GENERATORS

    return [name for name in GENERATORS if name.startswith(incomplete)]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("strata"))
        raise typer.Exit


SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A key of the configuration.", show_default=False),
]
GridOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE[,VALUE...]",
        help="A key of the configuration; several values, or several keys of several, make a grid of runs.",
        show_default=False,
    ),
]


@app.callback()
def strata(
    ctx: typer.Context,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print Strata's version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Keep the options that were given before the verb."""
    ctx.obj = {"store": store, "json": json, "quiet": quiet, "verbose": verbose}


@app.command()
@verb
def demo(out: Output) -> None:
    """Ingest a recorded capture, replay it through a flash drive, compare with theory: under a minute."""
    from flows.demo import demo as show

    show(out)


@app.command()
@verb
def ingest(
    out: Output,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Recordings, compressed ones as they are, or a folder of one."),
    ],
    format: Annotated[  # noqa: A002 - what the option is called
        str | None,
        typer.Option(
            "--format", help="The recorded format (default: recognised).", autocompletion=_formats, show_default=False
        ),
    ] = None,
    name: NameOption = None,
    action: Annotated[
        str,
        typer.Option(
            "--action", help="Block-layer traces: the event that is the request: Q queued, D issued, C completed."
        ),
    ] = "D",
    columns: Annotated[
        str,
        typer.Option(
            "--columns",
            help='delimited: which column is what, "time=0:us,op=1,offset=2:sector,length=3:B"; '
            "kvm: the ECAM window, ecam=0xb0000000:256MiB; nvme-tsv: bytes of a logical block, block=512.",
        ),
    ] = "",
    replace: ReplaceOption = False,
    flow: FlowOption = False,
) -> None:
    """Read recordings into the store as traces."""
    from flows import show
    from traces.errors import ConfigError, nearest
    from traces.formats.reader import Action, Options

    if action not in list(Action):
        raise ConfigError(f"--action: unknown event '{action}'{nearest(action, list(Action))}")
    options = Options(action=Action(action), columns=columns)
    made = perform(out, "ingest", flow, paths=paths, format=format, name=name, options=options, replace=replace)
    show.ingested(out, made)


@app.command()
@verb
def generate(
    out: Output,
    workload: Annotated[str, typer.Argument(help="A generator: see `strata workloads`.", autocompletion=_workloads)],
    settings: SetOption = None,
    name: NameOption = None,
    replace: ReplaceOption = False,
    flow: FlowOption = False,
) -> None:
    """Make a trace by a workload generator."""
    from flows import show
    from flows.settings import single

    given = single(settings or [])
    made = perform(out, "generate", flow, workload=workload, name=name, settings=given, replace=replace)
    show.ingested(out, made)


@app.command()
@verb
def replay(
    out: Output,
    trace: Annotated[str, typer.Argument(help="A trace's name, or kind/name.", autocompletion=trace_names)],
    stage: Annotated[str, typer.Argument(help="A stage: see `strata stages`.", autocompletion=_stages)],
    settings: GridOption = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="TOML file of keys; a list makes a grid. --set goes before it.", show_default=False
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Runs at work at a time (default: one a core).", show_default=False),
    ] = None,
    at_once: Annotated[
        int | None,
        typer.Option(
            "--at-once",
            min=1,
            help="Runs that share a reading of the trace (default: what half the free memory holds, 64 at most).",
            show_default=False,
        ),
    ] = None,
    flow: FlowOption = False,
) -> None:
    """Replay a trace through a stage, once for every combination of the settings."""
    from flows import show_runs
    from flows.settings import from_file, many
    from pipeline.replay import stage_named
    from traces.errors import StrataError, TraceError

    given = (from_file(config) if config else {}) | many(settings or [])
    known = stage_named(stage)
    if Path(trace).is_file() and trace not in {
        name for each in out.store.traces() for name in (each[1], "/".join(each))
    }:
        raise TraceError(f"{trace} is a recording, not a trace yet: `strata ingest {trace}` first")
    grid = perform(out, "replay", flow, trace=trace, stage=stage, settings=given, workers=workers, at_once=at_once)
    show_runs.replayed(out, known, grid)
    kept = sum(not each.fresh for each in grid.runs)
    if kept:
        out.note(f"{kept} of {len(grid.runs)} runs were kept already and were not made again")
    if grid.failed:
        raise StrataError(
            f"{len(grid.failed)} of {len(grid.runs) + len(grid.failed)} runs could not be made: "
            + "; ".join(f"{which}: {why}" for which, why in grid.failed)
        )


@app.command()
@verb
def traces(out: Output) -> None:
    """List the traces of the store."""
    from flows import show

    if not show.traces(out):
        out.note(f"no traces in {out.root}: `strata ingest FILE` reads a recording, `strata generate` makes a trace")


@app.command()
@verb
def show(
    out: Output,
    what: Annotated[
        str,
        typer.Argument(
            metavar="TRACE|RUN", help="A trace, or a run's id or the start of it.", autocompletion=trace_names
        ),
    ],
    rows: Annotated[int, typer.Option("--rows", min=0, max=1000, help="How many of the first rows to print.")] = 0,
) -> None:
    """Tell all that is known of a trace or a run."""
    from flows import show as shown
    from flows import show_runs

    found = [(k, n) for k, n in out.store.traces() if what in (n, f"{k}/{n}")]
    if len(found) > 1:
        shown.named(out, what, [kind for kind, _ in found])
    elif found:
        shown.trace(out, *found[0], rows)
    else:
        show_runs.run(out, what)


@app.command()
@verb
def stages(
    out: Output,
    name: Annotated[str | None, typer.Argument(help="A stage.", autocompletion=_stages, show_default=False)] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the configuration's JSON Schema.")] = False,
) -> None:
    """List the stages, or one stage's keys."""
    from flows import show
    from pipeline import STAGES
    from traces.table import name_of

    if name is None:
        out.records(
            [
                {
                    "stage": each.name,
                    "replays": name_of(each.reads),
                    "writes": ", ".join(map(name_of, each.writes)),
                    "doc": each.doc,
                }
                for each in STAGES.values()
            ]
        )
        return
    _keys(out, show.known("stage", name, STAGES).config, schema)


@app.command()
@verb
def formats(out: Output) -> None:
    """List the recorded formats that `strata ingest` reads."""
    from traces.formats import FORMATS

    out.records([{"format": each.name, "kind": each.kind, "doc": each.doc} for each in FORMATS.values()])


@app.command()
@verb
def workloads(
    out: Output,
    name: Annotated[
        str | None, typer.Argument(help="A generator.", autocompletion=_workloads, show_default=False)
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the configuration's JSON Schema.")] = False,
) -> None:
    """List the workload generators, or one generator's keys."""
    from flows import show
    from traces.workloads.worlds import GENERATORS

    if name is None:
        out.records([{"workload": each.name, "kind": each.kind, "doc": each.doc} for each in GENERATORS.values()])
        return
    _keys(out, show.known("workload", name, GENERATORS).config, schema)


@app.command()
@verb
def sql(
    out: Output,
    query: Annotated[
        str | None, typer.Argument(help="The query; `-` or none: read from stdin.", show_default=False)
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    parquet: Annotated[
        Path | None,
        typer.Option("--parquet", metavar="FILE", help="Write the answer to a Parquet file.", show_default=False),
    ] = None,
) -> None:
    """Query the store with DuckDB's SQL, read-only."""
    from flows import query as asking

    asking.query(out, asking.statement(query), as_csv=csv, parquet=parquet)


@app.command()
@verb
def doctor(
    out: Output,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build the catalog anew, as after moving the store.")
    ] = False,
    sweep: Annotated[bool, typer.Option("--sweep", help="Remove what killed processes left behind.")] = False,
    compile: Annotated[  # noqa: A002 - what the option is called
        bool, typer.Option("--compile", help="Measure anew how long the kernels take to compile.")
    ] = False,
) -> None:
    """Look whether everything is in order: libraries, store, catalog, server. Exit status 1 if not."""
    from flows.doctor import doctor as look

    look(out, rebuild=rebuild, sweep=sweep, compiling=compile)


app.add_typer(tools.app)


def _keys(out: Output, config: type[Any], schema: bool) -> None:
    from flows import show
    from traces.config import schema as schema_of

    if schema:
        out.document(schema_of(config))
    else:
        show.keys(out, config)


def main() -> None:
    """The command `strata`."""
    app()
