"""Traces made of traces, one tool a file."""

from collections.abc import Callable
from typing import Any, NamedTuple

from traces.made import Ingested
from traces.tools import cut, merge, rescale, sample


class Tool(NamedTuple):
    """One tool: a line of the list `TOOLS`."""

    name: str
    config: type[Any]
    make: Callable[..., Ingested]
    many: bool = False  # takes a list of traces, not one


_LIST = (
    Tool("cut", cut.Cut, cut.cut),
    Tool("sample", sample.Sample, sample.sample),
    Tool("merge", merge.Merge, merge.merge, many=True),
    Tool("rescale", rescale.Rescale, rescale.rescale),
)

TOOLS = {each.name: each for each in _LIST}
