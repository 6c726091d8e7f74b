"""What is deployed can be run: entrypoints, parameters and jobs are each other's."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from flows.jobs import JOBS

HOUSE = Path(__file__).parents[2]
FILE = yaml.safe_load((HOUSE / "prefect.yaml").read_text())


def flow_of(entrypoint: str) -> Any:
    from prefect.flows import load_flow_from_entrypoint

    return load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)


def own(function: Any, *without: str) -> dict[str, Any]:
    """Parameters and their defaults."""
    return {name: each.default for name, each in inspect.signature(function).parameters.items() if name not in without}


@pytest.mark.parametrize("name", JOBS)
def test_a_flow_has_the_parameters_of_its_job(name: str) -> None:
    flow = flow_of(f"flows.{name}.{name}")
    assert flow.name == name
    assert flow.description
    asked, taken = own(JOBS[name].run, "store", "progress"), own(flow.fn)
    assert taken.pop("store") == Path("data")
    assert set(taken) == set(asked)
    assert all(taken[key] == value for key, value in asked.items() if value is not inspect.Parameter.empty)


def test_every_job_is_deployed_to_one_pool() -> None:
    assert {f"flows.{name}.{name}" for name in JOBS} <= {each["entrypoint"] for each in FILE["deployments"]}
    assert {each["work_pool"]["name"] for each in FILE["deployments"]} == {"strata"}
    assert all(each["description"] for each in FILE["deployments"])


@pytest.mark.parametrize("deployment", FILE["deployments"], ids=lambda each: each["entrypoint"])
def test_the_parameters_of_a_deployment_are_those_of_its_flow(deployment: dict[str, Any]) -> None:
    flow = flow_of(deployment["entrypoint"])
    taken = own(flow.fn)
    assert set(deployment["parameters"]) <= set(taken)
    needed = {name for name, default in taken.items() if default is inspect.Parameter.empty}
    assert needed <= set(deployment["parameters"])
    flow.validate_parameters(deployment["parameters"])
    assert all((HOUSE / path).is_file() for path in deployment["parameters"].get("paths", []))
