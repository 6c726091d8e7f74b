"""The door to Prefect for our own processes: no outgoing calls, patient with a loaded machine, quiet.

With a server configured (``PREFECT_API_URL``) a flow run is recorded there; otherwise Prefect starts a server of
its own for as long as the process lives, which takes 9-16 s.
"""

import os
from importlib import import_module
from typing import Any

from flows.terminal import Output

ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # the default of 20 s is too short for the first start on a loaded machine
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


def run(name: str, out: Output, /, **parameters: Any) -> Any:
    """Run the flow ``flows.<name>.<name>`` in this process and return its result; its errors come as they are raised.

    Prefect's log goes to its server, and to the terminal with ``--verbose`` only. The heartbeat is off: its thread is
    joined at the end of every flow run, which costs a second each.
    """
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    if not out.verbose:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with out.waiting(f"flow run: {name}"):
        from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        flow = getattr(import_module(f"flows.{name}"), name)
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            return flow(**parameters)
