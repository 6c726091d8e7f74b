"""A schedule fires: a real server, the deployments of ``prefect.yaml``, a worker that looks for work once.

Versions of Prefect's libraries were seen in which runs that are asked for work and schedules never fire, in silence.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from flows.orchestra import ENVIRONMENT
from traces.catalog import connect
from traces.store import Store

HOUSE = Path(__file__).parents[2]
PATIENCE = 180.0  # seconds for any step on a loaded machine


def wait_for(what: str, found: Callable[[], Any]) -> Any:
    """The first answer that says something; asked again until then."""
    end = time.monotonic() + PATIENCE
    while not (answer := found()):
        assert time.monotonic() < end, f"{what}: not within {PATIENCE:.0f} s"
        time.sleep(0.2)
    return answer


class Server:
    """A Prefect server with a home of its own, and commands that know of it."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.home = home
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        self.environment = (
            kept
            | ENVIRONMENT
            | {"PREFECT_HOME": str(home), "PREFECT_API_URL": self.url, "PREFECT_SERVER_EPHEMERAL_ENABLED": "false"}
        )

    def ask(self, path: str, body: Any = None) -> Any:
        """What the server's API answers."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def answers(self) -> bool:
        try:
            return bool(self.ask("/health"))
        except (urllib.error.URLError, OSError):
            return False

    @contextmanager
    def started(self, *arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """A command that goes on meanwhile; at the end no process of its session is left."""
        with log.open("wb") as told:
            process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
                cwd=HOUSE,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def prefect(self, *arguments: str) -> str:
        """The output of a command, which must succeed."""
        log = self.home / "command.log"
        with self.started(*arguments, log=log) as process:
            assert process.wait(PATIENCE) == 0, log.read_text()
        return log.read_text()

    @contextmanager
    def running(self) -> Iterator[None]:
        """From its first answer to the end of every process of it."""
        log = self.home / "server.log"
        command = ("server", "start", "--host", "127.0.0.1", "--port", str(self.port), "--no-ui")
        with self.started(*command, log=log) as process:
            wait_for("the server's first answer", lambda: process.poll() is not None or self.answers())
            assert process.poll() is None, log.read_text()
            yield
            process.terminate()
            process.wait(PATIENCE)
            with pytest.raises(ProcessLookupError):
                os.killpg(process.pid, 0)


def test_a_scheduled_run_is_made_and_its_rows_are_in_the_store(store: Store, tmp_path: Path) -> None:
    home = tmp_path / "prefect"
    home.mkdir()
    server = Server(home)
    with server.running():
        server.prefect("work-pool", "create", "strata", "--type", "process")
        server.prefect("deploy", "--all")
        deployment = server.ask("/deployments/name/replay/on-demand")["id"]
        schedule = {
            "schedule": {"interval": 5},
            "active": True,
            "parameters": {
                "store": str(store.root),
                "trace": "small",
                "settings": {"block_pages": [2], "victim": ["greedy", "fifo"]},
            },
        }
        server.ask(f"/deployments/{deployment}/schedules", [schedule])
        wait_for("a run that the schedule asks for", lambda: server.ask("/flow_runs/filter", {"limit": 1}))
        told = server.prefect("worker", "start", "--pool", "strata", "--run-once", "--limit", "1")
        runs = server.ask("/flow_runs/filter", {"flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}}})
    assert [run["state_type"] for run in runs] == ["COMPLETED"], told
    assert runs[0]["auto_scheduled"]
    assert runs[0]["deployment_id"] == deployment
    assert runs[0]["work_pool_name"] == "strata"
    with connect(store) as db:  # as the run published it
        rows = db.execute("SELECT trace, stage, host_programs FROM runs JOIN ftl_summary USING (run)").fetchall()
    assert rows == [("small", "ftl.page_mapped", 4)] * 2
