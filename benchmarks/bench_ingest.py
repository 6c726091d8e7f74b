"""Ingest against what only converts: ``python -m benchmarks.bench_ingest``.

The same CSV in the manner of MSR Cambridge becomes zstd Parquet by polars, DuckDB and pyarrow, which take the columns
as they are, and by Strata, which also checks every line, sorts, counts and hashes. Every conversion has a process of
its own and is timed from its start to its end, imports included; they take turns, so that whatever else the machine
does falls on all of them. Strata's kernels come from Numba's cache and its modules from Python's, as they do for a
user from the second time on.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

GOAL = 0.60  # of the fastest converter's speed
MEMORY = 1 << 30  # bytes that ingest may take
LARGE = 42_000_000
START = 128_166_372_000_000_000  # 2007-02-22 17:00 UTC in FILETIME ticks
COLUMNS = ("Timestamp", "Hostname", "DiskNumber", "Type", "Offset", "Size", "ResponseTime")


def write_csv(path: Path, rows: int, seed: int = 1, batch: int = 1 << 20) -> None:
    """A week's worth of requests of 13 hosts with 3 disks each, time-ordered, about 50 bytes a row."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(seed)
    hosts = pl.Enum(["hm", "mds", "prn", "proj", "prxy", "rsrch", "src1", "src2", "stg", "ts", "usr", "wdev", "web"])
    types = pl.Enum(["Read", "Write"])
    mean_gap = 7 * 86_400 * 10_000_000 / rows
    now = START
    with path.open("wb") as file:
        for begin in range(0, rows, batch):
            n = min(batch, rows - begin)
            ticks = now + np.cumsum(rng.exponential(mean_gap, n)).astype(np.int64)
            now = int(ticks[-1])
            pl.DataFrame(
                [
                    pl.Series("Timestamp", ticks),
                    pl.Series("Hostname", rng.integers(0, 13, n, np.uint8)).cat.to(hosts),
                    pl.Series("DiskNumber", rng.integers(0, 3, n, np.uint8)),
                    pl.Series("Type", (rng.random(n) < 0.6).astype(np.uint8)).cat.to(types),
                    pl.Series("Offset", (rng.pareto(0.6, n).clip(0, 2**12) * 2**15).astype(np.int64) * 512),
                    pl.Series("Size", rng.choice(np.array([512, 4096, 4096, 8192, 16384, 65536]), n)),
                    pl.Series("ResponseTime", rng.lognormal(8, 1.5, n).astype(np.int64) + 100),
                ]
            ).write_csv(file, include_header=False)


def by_polars(csv: Path, out: Path) -> int:
    """Polars, streaming."""
    import polars as pl

    kinds = [pl.Int64, pl.String, pl.UInt32, pl.String, pl.UInt64, pl.UInt64, pl.Int64]
    target = out / "out.parquet"
    pl.scan_csv(csv, has_header=False, schema=dict(zip(COLUMNS, kinds, strict=True))).sink_parquet(
        target, compression="zstd", compression_level=1
    )
    return int(pl.scan_parquet(target).select(pl.len()).collect().item())


def by_duckdb(csv: Path, out: Path) -> int:
    """DuckDB's COPY."""
    import duckdb

    kinds = ["BIGINT", "VARCHAR", "UINTEGER", "VARCHAR", "UBIGINT", "UBIGINT", "BIGINT"]
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in zip(COLUMNS, kinds, strict=True))
    source = f"read_csv('{csv}', header = false, auto_detect = false, delim = ',', columns = {{{columns}}})"
    with duckdb.connect() as db:
        db.execute(
            f"COPY (FROM {source}) TO '{out / 'out.parquet'}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
        )
        row = db.execute(f"SELECT count(*) FROM '{out / 'out.parquet'}'").fetchone()
    return int(row[0]) if row else 0


def by_pyarrow(csv: Path, out: Path) -> int:
    """Pyarrow's data sets, streaming."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.dataset as ds

    kinds = [pa.int64(), pa.string(), pa.uint32(), pa.string(), pa.uint64(), pa.uint64(), pa.int64()]
    form = ds.CsvFileFormat(
        read_options=pa.csv.ReadOptions(column_names=COLUMNS, block_size=1 << 23),
        convert_options=pa.csv.ConvertOptions(column_types=dict(zip(COLUMNS, kinds, strict=True))),
    )
    options = ds.ParquetFileFormat().make_write_options(compression="zstd", compression_level=1)
    ds.write_dataset(ds.dataset(csv, format=form), out, format="parquet", file_options=options)
    return int(ds.dataset(out).count_rows())


def by_strata(csv: Path, out: Path) -> int:
    """What ``strata ingest`` calls."""
    from traces.ingest import ingest
    from traces.store import Store

    (made,) = ingest(Store(out), [csv])
    assert made.fresh
    assert made.info.format == "msr"
    assert not made.info.refused
    return made.info.rows


WAYS: dict[str, Callable[[Path, Path], int]] = {
    "polars": by_polars,
    "duckdb": by_duckdb,
    "pyarrow": by_pyarrow,
    "strata": by_strata,
}


def _peak() -> int:
    """The most memory this process ever had resident, in bytes. (``ru_maxrss`` counts the parent's before exec.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _one(way: str, csv: Path, out: Path) -> None:
    """Convert once and print what came of it as JSON: the body of a process."""
    rows = WAYS[way](csv, out)
    print(json.dumps({"peak": _peak(), "rows": rows}))


def _measured(way: str, csv: Path, folder: Path) -> dict[str, Any]:
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    os.sync()  # what the one before left to write must not fall on this one
    command = [sys.executable, "-m", "benchmarks.bench_ingest", "--one", way, str(csv), str(out)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[1], env=environment, check=False
    )
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout) | {"seconds": took}
    result["bytes"] = sum(file.stat().st_size for file in out.rglob("*.parquet"))
    return result


def compare(rows: int, rounds: int, folder: Path) -> float:
    """Measure all ways in turns, print a table, return Strata's speed as a share of the fastest."""
    small, csv = folder / "small.csv", folder / "msr.csv"
    write_csv(small, 10_000)
    _measured("strata", small, folder)  # compiles what is not in the cache
    write_csv(csv, rows)
    size = csv.stat().st_size
    print(f"{rows:,} rows, {size / 1e6:,.0f} MB, {os.cpu_count()} cores, median of {rounds} rounds (fastest)")
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, each in results.items():
            each.append(_measured(way, csv, folder))
            if each[-1]["rows"] != rows:
                raise SystemExit(f"{way} kept {each[-1]['rows']:,} rows of {rows:,}")
    print(f"{'':8} {'s':>14} {'M rows/s':>9} {'MB/s':>6} {'peak MB':>8} {'Parquet MB':>11}")
    seconds = {way: median(run["seconds"] for run in each) for way, each in results.items()}
    peaks = {way: max(run["peak"] for run in each) for way, each in results.items()}
    for way, each in results.items():
        took = seconds[way]
        fastest = min(run["seconds"] for run in each)
        print(
            f"{way:8} {took:6.2f} ({fastest:5.2f}) {rows / took / 1e6:9.2f} {size / took / 1e6:6.0f} "
            f"{peaks[way] / 1e6:8.0f} {each[-1]['bytes'] / 1e6:11.0f}"
        )
    best = min((way for way in WAYS if way != "strata"), key=seconds.__getitem__)
    ratio = seconds[best] / seconds["strata"]
    print(f"strata / {best}: {ratio:.2f} of its speed (goal {GOAL:.2f}), {peaks['strata'] / 2**30:.2f} GiB (goal < 1)")
    return ratio if peaks["strata"] < MEMORY else 0.0


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000, help="rows of the CSV, about 50 bytes each")
    parser.add_argument("--large", dest="rows", action="store_const", const=LARGE, help=f"{LARGE:,} rows, 2 GB")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way converts")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--check", action="store_true", help="fail where the goals are missed")
    parser.add_argument("--one", nargs=3, metavar=("WAY", "CSV", "OUT"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        _one(asked.one[0], Path(asked.one[1]), Path(asked.one[2]))
        return
    with tempfile.TemporaryDirectory(prefix="strata-bench-", dir=asked.folder) as folder:
        ratio = compare(asked.rows, asked.rounds, Path(folder))
    if asked.check and ratio < GOAL:
        raise SystemExit("the goals are missed")


if __name__ == "__main__":
    main()
