"""The command line as a process: what it imports, signals, pipes."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.terminal import Output
from flows.verbs import ended
from tests.flows.conftest import add_trace
from traces.store import Store
from traces.workloads import make

HOUSE = Path(__file__).parents[2]

# the command line with a stage that is given ten rows at a time and takes its time over them
SLOW = """
import functools, signal, time
import pipeline.replay
from pipeline import STAGES
from tests.flows import toy
from traces.store import read

def slow(trace, config):
    for batch in trace:
        yield from toy.run([batch], config)
        time.sleep(0.05)

pipeline.replay.read = functools.partial(read, rows=10)
reads = toy.Config, toy.Block, toy.Taken
STAGES["slow"] = toy.Stage("slow", "waits", *reads, (toy.ToySummary,), ("ratio",), toy.fit, slow)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from flows.cli import main
main()
"""


REAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from flows.cli import main
main()
"""


def start(*arguments: str, code: str = SLOW) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=HOUSE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if key not in ("STRATA_STORE", "PREFECT_API_URL")},
    )


@pytest.fixture
def big(tmp_path: Path) -> Store:
    store = Store(tmp_path / "data")
    add_trace(store, "big", rows=20_000)
    return store


def replaying(store: Store) -> subprocess.Popen[str]:
    """A process that has written the first of its results."""
    process = start("--store", str(store.root), "replay", "big", "slow", "--set", "scale=1,2,3,4")
    end = time.monotonic() + 60
    while not list(store.root.glob("runs/.part-*/toy_summary.parquet")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("arguments", [["--help"], ["sql", "--help"], ["--version"], ["--show-completion", "bash"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys, json, atexit\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
        "from flows.cli import main\nmain()"
    )
    process = start(*arguments, code=code)
    _, told = process.communicate(timeout=60)
    loaded = set(json.loads(told.splitlines()[-1]))
    assert not loaded & {"polars", "numba", "numpy", "prefect", "duckdb", "pyarrow", "sklearn", "scipy"}


def test_plain_verbs_do_not_import_prefect(big: Store) -> None:
    code = "import sys\nfrom flows.cli import main\ntry:\n main()\nfinally:\n assert 'prefect' not in sys.modules"
    process = start("--store", str(big.root), "sql", "SELECT 1", code=code)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_ctrl_c_ends_with_130_and_leaves_nothing(big: Store) -> None:
    process = replaying(big)
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == "error: interrupted; nothing half-written\n"
    assert out == ""
    assert not list(big.root.glob("runs/*"))
    assert not list(big.root.glob("runs/.part-*"))


def test_ctrl_c_ends_a_real_replay_too(tmp_path: Path) -> None:
    """Polars leaves signals such that waits are not interrupted: the toy stage would not show it."""
    store = Store(tmp_path)
    make(store, "uniform", "big", {"requests": 4_000_000, "capacity": "1GiB"})
    settings = ["--set", "spare=.02,.03,.04,.05,.06,.07", "--set", "victim=greedy,fifo"]
    process = start("--store", str(tmp_path), "replay", "big", "ftl.page_mapped", *settings, code=REAL)
    try:
        end = time.monotonic() + 60
        while not list(tmp_path.glob("runs/.part-*")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert told == "error: interrupted; nothing half-written\n"
    assert len(list(tmp_path.glob("runs/run=*"))) < 12
    assert not list(tmp_path.glob("runs/.part-*"))


def test_a_killed_replay_leaves_nothing_that_is_seen_and_the_next_one_makes_it_good(big: Store) -> None:
    process = replaying(big)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert big.leftovers()
    counted = start("--store", str(big.root), "sql", "SELECT count(*) AS n FROM runs", "--csv")
    assert counted.communicate(timeout=60)[0] == "n\n0\n"
    assert not big.leftovers()  # publishing swept them

    first = start("--store", str(big.root), "replay", "big", "toy", "--set", "scale=1,2", "--json", code=_TOY)
    told = json.loads(first.communicate(timeout=60)[0])
    assert [each["fresh"] for each in told] == [True, True]
    files = {path: path.stat().st_mtime_ns for path in big.root.rglob("*") if path.is_file()}
    again = start("--store", str(big.root), "replay", "big", "toy", "--set", "scale=1,2", "--json", code=_TOY)
    told = json.loads(again.communicate(timeout=60)[0])
    assert [each["fresh"] for each in told] == [False, False]
    assert {path: path.stat().st_mtime_ns for path in big.root.rglob("*") if path.is_file()} == files


_TOY = """
from pipeline import STAGES
from tests.flows import toy
STAGES["toy"] = toy.STAGE
from flows.cli import main
main()
"""


def test_a_closed_pipe_is_silent(big: Store) -> None:
    process = start("--store", str(big.root), "sql", "--csv", "FROM range(1000000)")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "range\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 0
    process.stderr.close()


def test_the_store_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recording = tmp_path / "hm_0.csv"
    recording.write_text("128166372003061629,hm,0,Read,8192,4096,151\n")
    process = start("--store", str(tmp_path / "file"), "ingest", str(recording), "--format", "msr")
    out, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "a file, not the folder of a store" in told
    assert out == ""


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG])
def test_no_room_outside_the_store_is_no_fault_of_ours(
    tmp_path: Path, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        raise OSError(code, os.strerror(code), "/cache/kernel.nbi")

    assert ended(Output(tmp_path, json=False, quiet=False, verbose=False), body) == 2
    assert f"/cache/kernel.nbi: {os.strerror(code)}; make room and run again" in capsys.readouterr().err


def test_a_full_disk_is_told_and_keeps_nothing(big: Store) -> None:
    code = (
        "import errno, pyarrow.parquet as pq\n"
        "def full(*_):\n raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "pq.ParquetWriter.write_table = full\n" + _TOY
    )
    process = start("--store", str(big.root), "replay", "big", "toy", code=code)
    out, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "the disk is full" in told
    assert out == ""
    assert not list(big.root.glob("runs/*"))
    assert not big.leftovers()
