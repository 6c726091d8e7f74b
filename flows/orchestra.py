"""The door to Prefect for our own processes: no outgoing calls, patient with a loaded machine, quiet.

With a server configured (``PREFECT_API_URL``) a flow run is recorded there; otherwise Prefect starts a server of
its own for as long as the process lives, which takes 9-16 s.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from flows.jobs import JOBS
from flows.terminal import Output
from traces.progress import Progress, nobody

ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # the default of 20 s is too short for the first start on a loaded machine
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}

_watcher: ContextVar[Progress] = ContextVar("watcher", default=nobody)

_PATIENCE = 2.0  # seconds that a flow run may take to end after an interrupt


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends the process soon, whatever Prefect does with it.

    A terminal sends the interrupt to Prefect's own server too; the flow run then goes on asking a server that is gone,
    for minutes. What a run had written so far has a name that no query sees and is swept by the next writer.
    """

    def interrupted(number: int, frame: FrameType | None) -> None:
        timer = threading.Timer(_PATIENCE, _end)
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, interrupted)
    signal.siginterrupt(signal.SIGINT, True)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end() -> None:
    """End this process and the server that it started, as an interrupt should."""
    os.write(2, b"error: interrupted; nothing half-written\n")
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            fields = stat.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == os.getpid():
                os.kill(int(stat.parent.name), signal.SIGTERM)
    os._exit(130)


def run(name: str, out: Output, /, **parameters: Any) -> Any:
    """Run the flow ``flows.<name>.<name>`` in this process and return its result; its errors come as they are raised.

    Prefect's log goes to its server, and to the terminal with ``--verbose`` only. The heartbeat is off: its thread is
    joined at the end of every flow run, which costs a second each.
    """
    job = JOBS[name]
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    if not out.verbose:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with out.progress(job.doing, job.unit, before=f"flow run: {name}") as progress, _interruptible():
        from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        flow = getattr(import_module(f"flows.{name}"), name)
        before = _watcher.set(progress)
        try:
            with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
                return flow(**parameters)
        finally:
            _watcher.reset(before)


def watcher() -> Progress:
    """Whom a flow's tasks tell how far they are: the terminal that waits for it in this process, or nobody.

    A context variable, for it reaches the threads of Prefect's task runner and is no parameter of the flow.
    """
    return _watcher.get()
