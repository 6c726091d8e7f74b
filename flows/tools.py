"""The verbs for traces in the store: characterise, cut, sample, merge, rescale, export."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.terminal import Output
from flows.verbs import FlowOption, ReplaceOption, perform, trace_names, verb

_PANEL = "Traces of the store"

app = typer.Typer()

TraceArgument = Annotated[str, typer.Argument(help="A trace's name, or kind/name.", autocompletion=trace_names)]
NewNameOption = Annotated[
    str | None, typer.Option("--name", help="Name of the new trace (default: made of the old).", show_default=False)
]


def _exports(incomplete: str) -> list[str]:
    """Names of formats that traces can leave as, for the shell."""
    from traces.export import EXPORTS

    return [name for name in EXPORTS if name.startswith(incomplete)]


@app.command(rich_help_panel=_PANEL)
@verb
def profile(out: Output, trace: TraceArgument, flow: FlowOption = False) -> None:
    """Characterise a trace: sizes, footprint, reuse, skew, arrivals; over time and by volume."""
    from flows import describe

    describe.profiled(out, perform(out, "profile", flow, trace=trace))


@app.command(rich_help_panel=_PANEL)
@verb
def cut(
    out: Output,
    trace: TraceArgument,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="From so long after the first record on: 10s, 5min.")
    ] = "0s",
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="Up to so long after the first record.", show_default=False),
    ] = None,
    skip: Annotated[int, typer.Option("--skip", metavar="ROWS", help="Without the first so many records.")] = 0,
    take: Annotated[
        int | None,
        typer.Option("--take", metavar="ROWS", help="So many records after those.", show_default=False),
    ] = None,
    volumes: Annotated[
        list[str] | None,
        typer.Option(
            "--volume",
            metavar="NAME",
            help="Only this volume (device, producer); may be given again.",
            show_default=False,
        ),
    ] = None,
    name: NewNameOption = None,
    replace: ReplaceOption = False,
    flow: FlowOption = False,
) -> None:
    """Make a trace of a part of one: of its time, rows or volumes."""
    wanted = {"since": since, "until": until, "skip": skip, "take": take, "volumes": tuple(volumes or ())}
    _derive(out, "cut", [trace], wanted, name, replace, flow)


@app.command(rich_help_panel=_PANEL)
@verb
def sample(
    out: Output,
    trace: TraceArgument,
    rate: Annotated[float, typer.Option("--rate", help="Share of places to keep, above 0 and up to 1.")] = 0.01,
    grain: Annotated[str, typer.Option("--grain", metavar="BYTES", help="Size of a place: 4096, 64KiB.")] = "4KiB",
    seed: Annotated[int, typer.Option("--seed", help="Another seed keeps other places.")] = 0,
    name: NewNameOption = None,
    replace: ReplaceOption = False,
    flow: FlowOption = False,
) -> None:
    """Make a trace of some places of a block or memory trace, each with all of its requests."""
    _derive(out, "sample", [trace], {"rate": rate, "grain": grain, "seed": seed}, name, replace, flow)


@app.command(rich_help_panel=_PANEL)
@verb
def merge(
    out: Output,
    traces: Annotated[list[str], typer.Argument(metavar="TRACE...", help="Traces' names.", autocompletion=trace_names)],
    align: Annotated[
        str, typer.Option("--align", metavar="start|clock", help="All begin at once, or as their clocks say.")
    ],
    volumes: Annotated[
        str,
        typer.Option(
            "--volumes",
            metavar="apart|shared",
            help="Whether volumes of one name in two traces are one; PCI, DMA and text traces: shared.",
        ),
    ] = "apart",
    name: NewNameOption = None,
    replace: ReplaceOption = False,
    flow: FlowOption = False,
) -> None:
    """Make one trace of several, as if their hosts had shared a machine."""
    _derive(out, "merge", traces, {"align": align, "volumes": volumes}, name, replace, flow)


@app.command(rich_help_panel=_PANEL)
@verb
def rescale(
    out: Output,
    trace: TraceArgument,
    factor: Annotated[str, typer.Argument(help="What times are multiplied with: 0.5, 3 or 1/3.")],
    name: NewNameOption = None,
    replace: ReplaceOption = False,
    flow: FlowOption = False,
) -> None:
    """Make a trace that is played faster or slower."""
    _derive(out, "rescale", [trace], {"factor": factor}, name, replace, flow)


@app.command(rich_help_panel=_PANEL)
@verb
def export(
    out: Output,
    trace: TraceArgument,
    format: Annotated[  # noqa: A002 - what it is called in the help
        str,
        typer.Argument(
            help="csv; of block traces fio-iolog, mqsim, oracle; of memory traces dramsim; of messages agent.",
            autocompletion=_exports,
        ),
    ],
    file: Annotated[Path, typer.Argument(help="The file to write; .gz, .zst, .bz2 and .lz4 compress it.")],
    replace: Annotated[bool, typer.Option("--replace", help="Put it in place of a file that is there.")] = False,
    flow: FlowOption = False,
) -> None:
    """Write a trace as a file that other tools read, and tell what the format does not carry."""
    from flows import describe

    describe.exported(out, perform(out, "export", flow, trace=trace, format=format, target=file, replace=replace))


def _derive(
    out: Output, tool: str, traces: list[str], settings: dict[str, Any], name: str | None, replace: bool, flow: bool
) -> None:
    from flows import show

    made = perform(out, "derive", flow, tool=tool, traces=traces, name=name, settings=settings, replace=replace)
    show.ingested(out, [made])
