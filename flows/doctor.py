"""``strata doctor``: is everything in order, and what to do where it is not."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import duckdb
from packaging.requirements import Requirement

from flows.terminal import Output, bytes_text
from traces.catalog import connect, is_current
from traces.errors import StoreError
from traces.store import Store
from traces.usable import usable

FREE = 1 << 30  # bytes of free disk below which something is wrong
_COMPILE = """
import sys, tempfile, time
from pathlib import Path

from pipeline import STAGES
from pipeline.replay import plan, replay
from traces.store import Store
from traces.workloads import make

with tempfile.TemporaryDirectory() as folder:
    store = Store(Path(folder))
    make(store, "uniform", "tiny", {"requests": 1000, "capacity": "4MiB"})
    began = time.perf_counter()
    for name, stage in STAGES.items():
        if stage.reads.__name__ == "Block":
            replay(plan(store, "tiny", name, {}))
    print(time.perf_counter() - began)
"""

Finding = dict[str, str]


def doctor(out: Output, *, rebuild: bool, sweep: bool, compiling: bool) -> None:
    """Print a finding a line; raises ``typer.Exit(1)`` where one of them is wrong."""
    import typer

    store = out.store
    if sweep and store.root.exists():
        out.note(f"swept {store.sweep()} leftovers")
    if rebuild:
        from flows.catalog import publish

        if not store.root.exists():
            raise StoreError(f"no store at {store.root}")
        publish(store)
    findings = [*_python(), *_libraries(), *_store(store), *_server()]
    with out.waiting("compiling kernels"):
        findings += _kernels(anew=compiling)
    out.records(findings)
    if wrong := sum(finding["state"] == "wrong" for finding in findings):
        out.note(f"{wrong} of {len(findings)} findings are wrong")
        raise typer.Exit(1)


def _finding(what: str, told: str, *, wrong: bool = False, odd: bool = False) -> Finding:
    return {"what": what, "state": "wrong" if wrong else "odd" if odd else "ok", "told": told}


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield _finding("python", f"{version} at {sys.executable}", wrong=sys.version_info < (3, 11))
    yield _finding("cores", str(os.cpu_count()))


def _libraries() -> Iterator[Finding]:
    """Every pinned library beside its pin."""
    for text in importlib.metadata.requires("strata") or ():
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            have = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            yield _finding(wanted.name, f"not installed, want {wanted.specifier}", wrong=True)
            continue
        fits = wanted.specifier.contains(have, prereleases=True)
        yield _finding(wanted.name, f"{have} ({wanted.specifier or 'any'})", wrong=not fits)


def _store(store: Store) -> Iterator[Finding]:
    root = store.root.resolve()
    if not root.exists():
        yield _finding("store", f"{root}: not there yet", odd=True)
        return
    size = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
    runs = len(list(root.glob("runs/run=*"))) + len(store.packed())
    told = f"{root}: {len(store.traces())} traces, {runs} runs, {bytes_text(size)}"
    writable = os.access(root, os.W_OK)
    yield _finding("store", told if writable else f"{told}; it cannot be written", wrong=not writable)
    free = shutil.disk_usage(root).free
    yield _finding("free disk", bytes_text(free), wrong=free < FREE)
    yield _catalog(store)
    yield from _traces(store)
    left = store.leftovers()
    told = f"{len(left)} files of killed processes: `strata doctor --sweep` removes them" if left else "none"
    yield _finding("leftovers", told, odd=bool(left))


def _catalog(store: Store) -> Finding:
    again = "`strata doctor --rebuild` makes it anew"
    if not store.catalog.exists():
        return _finding("catalog", f"none yet; {again}", odd=True)
    try:
        with connect(store) as db:
            row = db.execute("SELECT root FROM published").fetchone()
    except (StoreError, duckdb.Error) as error:
        return _finding("catalog", f"cannot be read ({str(error).splitlines()[0]}); {again}", wrong=True)
    was = row[0] if row else "nowhere"
    if was != str(store.root.resolve()):
        return _finding("catalog", f"was built for {was}, its views read files there; {again}", wrong=True)
    current = is_current(store)
    told = "current" if current else f"tells less than the store holds; the next `strata sql` or {again}"
    return _finding("catalog", told, odd=not current)


def _traces(store: Store) -> Iterator[Finding]:
    for name, why in usable(store)[1].items():
        yield _finding(f"trace {name}", why, wrong=True)


def _server() -> Iterator[Finding]:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        yield _finding(
            "prefect server", "none configured: verbs run at once; --flow starts a server for as long as it runs"
        )
        return
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/admin/version", timeout=5) as answer:  # noqa: S310
            server = json.load(answer)
    except (OSError, ValueError, urllib.error.URLError) as error:
        yield _finding(
            "prefect server", f"{url} does not answer ({error}); unset PREFECT_API_URL to do without", wrong=True
        )
        return
    ours = importlib.metadata.version("prefect")
    yield _finding("prefect server", f"{url} answers, version {server}", odd=server != ours)


def _kernels(*, anew: bool) -> list[Finding]:
    """How long kernels take to compile: measured once a version of the code, and kept beside its kernels."""
    from traces.kernel import cache_folder

    kept = cache_folder() / "compiled.json"
    if kept.exists() and not anew:
        findings: list[Finding] = json.loads(kept.read_text())
        return findings
    findings = list(_compiled())
    if not any(finding["state"] == "wrong" for finding in findings):
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(findings))
    return findings


def _compiled() -> Iterator[Finding]:
    """Replay a tiny trace through every stage in a process of its own: with an empty kernel cache, then a full one."""
    with tempfile.TemporaryDirectory() as folder:
        for state in ("cold", "warm"):
            began = time.perf_counter()
            done = subprocess.run(  # noqa: S603
                [sys.executable, "-c", _COMPILE],
                env=os.environ | {"STRATA_CACHE": folder},
                capture_output=True,
                text=True,
                check=False,
            )
            whole = time.perf_counter() - began
            if done.returncode:
                told = (done.stderr.strip().splitlines() or ["no message"])[-1]
                yield _finding(f"kernels, {state}", re.sub(r"\s+", " ", told), wrong=True)
                return
            yield _finding(f"kernels, {state}", f"{float(done.stdout):.1f} s, the whole process {whole:.1f} s")
