"""Records a second of every generator: ``pytest benchmarks/bench_workloads.py``."""

from typing import Any

import pytest

from traces.config import configured
from traces.workloads import WORKLOADS
from traces.workloads.workload import Shared, Workload

REQUESTS = 10_000_000
ASKED = {"requests": REQUESTS, "reads": 0.3}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("sequential", {}),
    ("uniform", {}),
    ("uniform", {"arrival": "fixed"}),
    ("zipf", {}),
    ("zipf", {"theta": 1.2, "capacity": "4TiB"}),
    ("zipf", {"scattered": False}),
    ("zipf", {"volumes": 16, "capacity": "1100MB"}),  # just past a power of two: half of the ranks walk twice
    ("hot-cold", {}),
    ("hot-cold", {"scattered": True}),
    ("uniform", {"arrival": "on-off"}),
    ("uniform", {"arrival": "b-model"}),
    ("strided", {}),
    ("oltp", {}),
    ("oltp", {"commit": "flush", "volumes": 16}),
    ("log-append", {}),
    ("lsm", {}),
    ("lsm", {"io": "4KiB"}),
    ("ai-checkpoint", {}),
    ("boot-storm", {}),
    ("boot-storm", {"volumes": 10_000}),
    ("archival", {"capacity": "8TiB"}),
    ("idle", {}),
    ("phases", {"phases": "oltp 2000000; zipf 2000000; log-append 2000000; ai-checkpoint 2000000; uniform 2000000"}),
    ("pointer-chase", {"accesses": REQUESTS}),
    ("pointer-chase", {"accesses": REQUESTS, "footprint": "256GiB", "fields": 3}),
    ("streaming", {"accesses": REQUESTS, "cpus": 4}),
    ("stencil", {"accesses": REQUESTS}),
    ("stencil", {"accesses": REQUESTS, "dimensions": 3, "cpus": 2, "spaces": 2}),
    ("zipf-pages", {"accesses": REQUESTS}),
    ("memory-phases", {"phases": "streaming 3000000; zipf-pages 4000000; stencil 3000000"}),
    ("messages", {"messages": REQUESTS}),
    ("messages", {"messages": REQUESTS, "lengths": "fixed", "arrival": "fixed"}),
    ("pci-scan", {"rescans": 100_000}),
    ("pci-scan", {"dumps": 500}),
    ("text-patches", {"writes": REQUESTS}),
    ("dma", {"events": REQUESTS}),
    ("dma", {"events": REQUESTS, "strategy": "lazy", "devices": 64, "ats": 0.5}),
]


def _told(case: tuple[str, dict[str, Any]]) -> str:
    return " ".join([case[0], *(f"{key}={value}" for key, value in case[1].items())])


@pytest.mark.parametrize("case", CASES, ids=_told)
def test_generate(benchmark: Any, case: tuple[str, dict[str, Any]], capsys: Any) -> None:
    workload: Workload[Any] = WORKLOADS[case[0]]
    config = configured(workload.config, case[1] | (ASKED if issubclass(workload.config, Shared) else {}))
    for batch in workload.generate(config):  # the kernels are compiled
        assert batch.height
        break

    def generate() -> int:
        return sum(batch.height for batch in workload.generate(config))

    assert benchmark.pedantic(generate, rounds=3) == pytest.approx(config.records, rel=0.1)
    if benchmark.stats:
        rate = config.records / benchmark.stats.stats.min
        benchmark.extra_info["records/s"] = rate
        with capsys.disabled():
            print(f"{_told(case)[:45]:45} {rate / 1e6:6.1f} M records/s")
