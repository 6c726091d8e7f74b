"""``strata demo``: a recorded capture through a flash drive, and what theory says of it.

Every step is a Prefect flow run, as it would be on a schedule.
"""

from importlib.resources import files
from pathlib import Path

from flows import orchestra
from flows.show import ready, rows
from flows.terminal import Output
from pipeline.ftl import page_mapped

SPARE = [0.07, 0.1, 0.15, 0.25]
VICTIM = ["greedy", "fifo", "cost-benefit"]
UNIFORM = {
    "requests": 400_000,
    "capacity": "64MiB",
}  # pages at random, 24 times the drive: what the closed forms are for

_QUESTION = """
WITH made AS (
  SELECT run_config(run, 'victim') AS victim, run_config(run, 'spare')::DOUBLE AS spare, * FROM ftl_summary
)
SELECT
  victim, spare,
  sqlite.wa AS "sqlite", uniform.wa_steady AS "uniform", uniform.wa_theory_effective AS "closed form"
FROM made AS sqlite JOIN made AS uniform USING (victim, spare)
WHERE list_contains(?, sqlite.run) AND list_contains(?, uniform.run)
ORDER BY victim = 'cost-benefit', victim DESC, spare
"""

NEXT = (
    "FROM wa_curve('sqlite')",
    "FROM load('sqlite', seconds := 2)",
    "SELECT op_name(op) AS op, raw, count(*) AS requests, sum(length) AS bytes"
    " FROM block WHERE trace = 'sqlite' GROUP BY ALL ORDER BY requests DESC",
)


def sample() -> list[Path]:
    """The recorded capture that comes with Strata: one file a processor."""
    folder = Path(str(files("traces"))) / "samples"
    return sorted(folder.glob("sqlite.blktrace.*.zst"))


def demo(out: Output) -> None:
    """Replay the capture and random writes over a grid of drives; write amplification beside its closed form."""
    store, stage = out.root, page_mapped.STAGE.name
    settings = {"spare": SPARE, "victim": VICTIM}
    (recorded,) = orchestra.run("ingest", out, paths=sample(), store=store, name="sqlite")
    orchestra.run("generate", out, workload="uniform", store=store, settings=UNIFORM)
    grids = [
        orchestra.run("replay", out, trace=trace, stage=stage, store=store, settings=settings)
        for trace in ("sqlite", "uniform")
    ]
    with ready(out) as db:
        answer = rows(db, _QUESTION, [[run.run for run in grid.runs] for grid in grids])
    if out.json:
        out.document(answer)
        return
    info = recorded.info
    out.text(f"""\
sqlite on ext4 on an NVMe drive, a recording ({info.format}): {info.rows:,} requests, {info.total("writes"):,} writes.
uniform, generated: {UNIFORM["requests"]:,} writes of random pages, the case that the closed form is for.

Pages that a flash drive programs for each page that its host writes (write amplification), by the victim policy
of its garbage collection and its spare capacity; {sum(len(grid.runs) for grid in grids)} runs of {stage}:
""")
    out.table(answer)
    out.text("\nAsk on:\n")
    for sql in NEXT:
        out.text(f'  .venv/bin/strata sql "{sql}"')
    out.text("\nYour own trace:\n")
    out.text("  .venv/bin/strata ingest PATH/OF/A/RECORDING --name mine")
    out.text(f"  .venv/bin/strata replay mine {stage} --set spare=.07,.15,.25 --set victim=greedy,fifo")
