"""What is known of a trace goes on to the traces that are made of it.

Labels and functions are clipped to the time that is left and keep to its clock, labels of volumes without a row fall
away. Sites have no time and stay. Rows that are told of by their number (records, causes) are found again by the
numbers that they have now: the two numbers of every row go to a file first, and DuckDB joins on disk in `_MEMORY`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import xxhash

from traces.info import TraceInfo
from traces.making import Truth
from traces.requests import PLACES
from traces.store import Store
from traces.table import U32, quoted, schema_of
from traces.truth import TRUTHS

ROW = "row_"  # the column of batches that numbers the rows of all parents, one parent behind the other
BY_ROW = ("records", "causes")  # the truths that name rows
_MEMORY = "400MB"
_BATCH = 1 << 18
_GONE = "functions that were not there in this time"
_CAUSES = "causes in traces of other kinds, whose rows may have other numbers or times now"
_UNCLEAR = "volumes without the labels they had: not each of their traces labels them, for a time of its own"


@dataclass(frozen=True)
class Heir:
    """One parent's truth on its way to the trace that is made."""

    store: Store
    kind: str
    name: str
    info: TraceInfo
    base: int  # the number in `ROW` of its first row
    time: Callable[[pl.Expr], pl.Expr]  # of the parent -> of the batches
    volumes: U32 | None  # [number in the parent] -> number in the batches; None: the same

    def has(self, truth: str) -> Path | None:
        """The file of one of its truths."""
        path = self.store.truth_path(truth, self.kind, self.name)
        return path if path.exists() else None

    def told(self, truth: str) -> Iterator[pl.DataFrame]:
        """The rows of one of its truths, none where it has none; text as strings."""
        if path := self.has(truth):
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_BATCH):
                    yield pl.DataFrame(pl.from_arrow(batch)).cast(schema_of(TRUTHS[truth]))  # type: ignore[arg-type]


def digest(parents: Sequence[Heir]) -> str:
    """A hash of all that is known of the parents beside their rows; an empty text where nothing is."""
    whole = xxhash.xxh3_128()
    for parent in parents:
        for truth in TRUTHS:
            if path := parent.has(truth):
                whole.update(f"{parent.name}\0{truth}\0".encode())
                with path.open("rb") as file:
                    while block := file.read(1 << 20):
                        whole.update(block)
    return str(whole.hexdigest()) if any(p.has(truth) for p in parents for truth in TRUTHS) else ""


@dataclass
class Inheritance:
    """What goes over, settled while the rows go by."""

    parents: Sequence[Heir]
    same_rows: bool  # every row of the parent is there, under its number
    scratch: Path  # a folder, made where it is wanted
    info: TraceInfo  # of the trace that is made: its notes tell what does not go over
    numbers: Mapping[int, int] = field(default_factory=dict)  # volume in the batches -> volume in the trace
    first: int = 0  # time in the batches of the first row and of the last
    last: int = 0
    _rows: int = 0
    _file: pq.ParquetWriter | None = None

    def follow(self, batch: pl.DataFrame) -> None:
        """Take note of a batch of what will be the trace, with the column `ROW` and times of the batches."""
        if not self._rows:
            self.first = int(batch["time"][0])
        self.last = int(batch["time"][-1])
        if not self.same_rows and any(parent.has(truth) for parent in self.parents for truth in BY_ROW):
            now = pl.int_range(self._rows, self._rows + batch.height, dtype=pl.UInt64, eager=True)
            table = pl.DataFrame({"old": batch[ROW], "new": now}).to_arrow()
            if self._file is None:
                self.scratch.mkdir(parents=True)
                self._file = pq.ParquetWriter(self.scratch / "rows.parquet", table.schema, compression="lz4")
            self._file.write_table(table)
        self._rows += batch.height

    def truth(self) -> Truth:
        """The tables to be told once all rows have gone by."""
        ways: dict[str, Callable[[], Iterator[pl.DataFrame]]] = {
            "labels": self._labels,
            "functions": self._functions,
            "sites": self._sites,
            "records": self._records,
            "causes": self._causes,
        }
        known = [truth for truth in TRUTHS if any(parent.has(truth) for parent in self.parents)]
        return {truth: partial(self._filled, ways[truth]) for truth in known}

    def _filled(self, batches: Callable[[], Iterator[pl.DataFrame]]) -> Iterator[pl.DataFrame]:
        """Those with rows: of a truth without any there is to be no file."""
        return (rows for rows in batches() if rows.height) if self._rows else iter(())

    def close(self) -> None:
        """Let go of files."""
        if self._file is not None:
            self._file.close()

    def _note(self, sentence: str, count: int) -> None:
        if count:
            self.info.notes[sentence] = self.info.notes.get(sentence, 0) + count

    def _spans(self, parent: Heir, truth: str) -> Iterator[pl.DataFrame]:
        """Rows with ``began`` and ``ended`` in the trace's time, without those that have no time in it."""
        # what outlasts the last row ends with it, to whatever time that went
        past = parent.time(pl.lit(parent.info.span, pl.UInt64)) + 1
        bounds = [
            pl.when(pl.col(name) > parent.info.span)
            .then(past)
            .otherwise(parent.time(pl.col(name).clip(upper_bound=parent.info.span)))
            .clip(self.first, self.last + 1)
            .alias(name)
            - self.first
            for name in ("began", "ended")
        ]
        for batch in parent.told(truth):
            yield batch.with_columns(bounds).filter(pl.col("began") < pl.col("ended"))

    def _labels(self) -> Iterator[pl.DataFrame]:
        if self.parents[0].kind in PLACES:
            ways = [self._volumes(parent) for parent in self.parents]
        else:  # labels of other kinds are of the whole trace
            ways = [{0: 0}] * len(self.parents)
        sources = Counter(new for way in ways for new in way.values())
        shared: list[pl.DataFrame] = []
        for order, (parent, way) in enumerate(zip(self.parents, ways, strict=True)):
            for batch in self._spans(parent, "labels") if way else ():
                rows = batch.filter(pl.col("volume").is_in(list(way)))
                rows = rows.with_columns(rows["volume"].replace_strict(way, return_dtype=pl.UInt32))
                alone = rows["volume"].replace_strict(sources, return_dtype=pl.UInt32) == 1
                yield rows.filter(alone)
                shared.append(rows.filter(~alone).with_columns(pl.lit(order).alias("parent")))
        if shared:
            yield from self._agreed(pl.concat(shared), sources)

    def _volumes(self, parent: Heir) -> dict[int, int]:
        """A parent's volume, of those that it has rows of -> volume of the trace, of those that it has rows of."""
        old = [number for number, volume in enumerate(parent.info.volumes) if volume.requests]
        given = old if parent.volumes is None else parent.volumes[old].tolist()
        return {one: self.numbers[other] for one, other in zip(old, given, strict=True) if other in self.numbers}

    def _agreed(self, rows: pl.DataFrame, sources: Mapping[int, int]) -> Iterator[pl.DataFrame]:
        """Labels of volumes that are in several parents: kept where all of them label it, one after the other."""
        rows = rows.sort("volume", "began", "ended", maintain_order=True)
        for (volume,), spans in rows.group_by("volume", maintain_order=True):
            began, ended = spans["began"].to_numpy(), spans["ended"].to_numpy()
            if spans["parent"].n_unique() < sources[int(str(volume))] or (began[1:] < ended[:-1]).any():
                self._note(_UNCLEAR, 1)
                continue
            # where the next one begins: nothing happens between two of them
            last = spans["ended"][-1]
            yield spans.with_columns(pl.col("began").shift(-1, fill_value=last).alias("ended")).drop("parent")

    def _functions(self) -> Iterator[pl.DataFrame]:
        before = sum(rows.height for parent in self.parents for rows in parent.told("functions"))
        found = [rows for parent in self.parents for rows in self._spans(parent, "functions")]
        self._note(_GONE, before - sum(rows.height for rows in found))
        yield pl.concat(found).unique(maintain_order=True)

    def _sites(self) -> Iterator[pl.DataFrame]:
        yield pl.concat([rows for parent in self.parents for rows in parent.told("sites")]).unique(maintain_order=True)

    def _records(self) -> Iterator[pl.DataFrame]:
        if self.same_rows:
            yield from self.parents[0].told("records")
            return
        sql = 'SELECT m.new AS "row", t.truth FROM truth t JOIN rows m ON t."row" = m.old ORDER BY 1, 2'
        yield from self._joined("records", sql)

    def _causes(self) -> Iterator[pl.DataFrame]:
        own = pl.col("cause_kind") == self.parents[0].kind
        others = sum(batch.filter(~own).height for parent in self.parents for batch in parent.told("causes"))
        self._note(_CAUSES, others)
        if self.same_rows:
            yield from (batch.filter(own) for batch in self.parents[0].told("causes"))
            return
        kind = quoted(self.parents[0].kind)
        # of a row that became several, the first is the cause
        sql = (
            'SELECT m.new AS "row", t.cause_kind, c.new AS cause_row FROM truth t JOIN rows m ON t."row" = m.old '
            "JOIN (SELECT old, min(new) AS new FROM rows GROUP BY old) c ON t.cause_row = c.old "
            f"WHERE t.cause_kind = {kind} ORDER BY 1, 3"
        )
        yield from self._joined("causes", sql)

    def _joined(self, truth: str, sql: str) -> Iterator[pl.DataFrame]:
        """Rows of a truth with the numbers of today; a note of those of which there is none."""
        self.close()
        schema = schema_of(TRUTHS[truth])
        rows = [f'"{name}"' for name in schema if name.endswith("row")]
        parts = [
            f"SELECT * REPLACE ({', '.join(f'{name} + {parent.base} AS {name}' for name in rows)}) "
            f"FROM read_parquet({quoted(str(path))})"
            for parent in self.parents
            if (path := parent.has(truth))
        ]
        with duckdb.connect() as db:
            db.execute(f"SET memory_limit = {quoted(_MEMORY)}")
            db.execute(f"SET temp_directory = {quoted(str(self.scratch / 'sort'))}")
            db.execute(f"CREATE VIEW rows AS FROM read_parquet({quoted(str(self.scratch / 'rows.parquet'))})")
            db.execute(f"CREATE VIEW truth AS {' UNION ALL '.join(parts)}")
            mine = "true" if truth == "records" else f"cause_kind = {quoted(self.parents[0].kind)}"
            gone = db.execute(
                f"SELECT count(*) FROM truth WHERE {mine} AND ("
                + " OR ".join(f"{name} NOT IN (SELECT old FROM rows)" for name in rows)
                + ")"
            ).fetchall()
            self._note(f"{truth} of rows that are not in this trace", gone[0][0])
            for arrow in db.sql(sql).to_arrow_reader(_BATCH):
                yield pl.DataFrame(pl.from_arrow(arrow)).cast(schema)  # type: ignore[arg-type]
