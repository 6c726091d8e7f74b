"""What every verb of the command line has in common: its options, and how it ends.

Exit status: 0 done, 1 something unexpected (or, of `doctor`, something wrong), 2 a mistake of the user's that the
message names, 130 interrupted.
"""

import errno
import functools
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from flows.terminal import Output, hush

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store", help="Folder of traces and results (default: ./data, or $STRATA_STORE).", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print the answer alone.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Print where an unexpected error came from.")]

NameOption = Annotated[
    str | None,
    typer.Option("--name", help="Name of the trace (default: the file's, or the generator's).", show_default=False),
]
FlowOption = Annotated[
    bool, typer.Option("--flow", help="Run as a Prefect flow run (also whenever PREFECT_API_URL is set).")
]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Put it in place of a trace of that name.")]

_COMMON: dict[str, tuple[Any, Any]] = {
    "store": (StoreOption, None),
    "json": (JsonOption, False),
    "quiet": (QuietOption, False),
    "verbose": (VerboseOption, False),
}


def root_of(store: Path | None) -> Path:
    """The store's folder: as given, else ``$STRATA_STORE``, else ``./data``."""
    return store or Path(os.environ.get("STRATA_STORE") or "data")


def trace_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the store's traces, for the shell."""
    files = root_of(ctx.find_root().params.get("store")).glob(f"traces/*/{incomplete}*.parquet")
    return sorted(file.stem for file in files if not file.name.startswith("."))


def verb(body: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter is an `Output`, with the options that stand before or after every verb."""
    hints = get_type_hints(body, include_extras=True)
    own = list(inspect.signature(body).parameters.values())[1:]
    common = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        for name, (hint, default) in _COMMON.items()
        if name not in hints
    ]

    @functools.wraps(body)
    def command(ctx: typer.Context, **given: Any) -> None:
        before = ctx.find_root().obj or {}
        asked = {name: given.pop(name, None) or before.get(name) for name in _COMMON}
        out = Output(
            root_of(asked["store"]),
            json=bool(asked["json"]),
            quiet=bool(asked["quiet"]),
            verbose=bool(asked["verbose"]),
        )
        raise typer.Exit(ended(out, functools.partial(body, out, **given)))

    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[p.name]) for p in own)]
    command.__signature__ = inspect.Signature([*parameters, *common])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in [*parameters, *common]}
    del command.__wrapped__
    return command


def perform(out: Output, name: str, flow: bool, /, **parameters: Any) -> Any:
    """What a job of `flows.jobs.JOBS` makes: by its function at once, or as a flow run if asked for or configured."""
    from flows.jobs import JOBS

    if flow or os.environ.get("PREFECT_API_URL"):
        from flows import orchestra

        return orchestra.run(name, out, store=out.root, **parameters)
    job = JOBS[name]
    with out.progress(job.doing, job.unit, f"{job.doing} (kernels are compiled at their first use)") as progress:
        return job.run(out.store, progress=progress, **parameters)


def ended(out: Output, body: Callable[[], None]) -> int:
    """Run a verb; its exit status, after a message on stderr where one is due."""
    from traces.errors import StrataError

    try:
        body()
        sys.stdout.flush()
    except StrataError as error:
        out.error(str(error))
        return 2
    except KeyboardInterrupt:
        out.error("interrupted; nothing half-written")
        return 130
    except BrokenPipeError:
        hush()
    except typer.Exit as end:
        return end.exit_code
    except OSError as error:
        if error.errno not in _NO_ROOM:
            return _unexpected(out, error)
        where = error.filename or "a file outside the store, such as the cache of kernels ($STRATA_CACHE)"
        out.error(f"{where}: {error.strerror}; make room and run again")
        return 2
    except Exception as error:
        return _unexpected(out, error)
    return 0


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # also where kernels are cached, which no store knows of


def _unexpected(out: Output, error: Exception) -> int:
    """Tell of a fault of our own, whole if asked for."""
    if out.verbose:
        raise error
    told = str(error).strip().splitlines()
    out.error(f"{type(error).__name__}: {told[0] if told else 'no message'} (--verbose tells where)")
    return 1
