"""What the store keeps of what it keeps: its runs, its traces, their volumes and what was refused of their sources."""

from typing import Annotated, NamedTuple

from traces.table import F64, I64, U64, Text


class Refused(NamedTuple):
    """Rows of a source that could not be used, one row each."""

    file: Annotated[Text, "source file, as it was named at ingest"]
    line: Annotated[U64, "line of the file (counted from 1) or, in a binary file, the byte offset of the record"]
    reason: Annotated[Text, "why it was refused"]
    text: Annotated[Text, "the line itself (the record in hexadecimal), cut to 500 characters"]


class Runs(NamedTuple):
    """Every run that is kept, one row each."""

    run: Annotated[Text, "the run's id: a hash of trace content, stage, configuration and code"]
    trace: Annotated[Text, "the trace's name when the run was made"]
    trace_hash: Annotated[Text, "hash of the trace's content"]
    kind: Annotated[Text, "the trace's kind"]
    stage: Annotated[Text, "the stage that ran"]
    config: Annotated[Text, "the whole configuration, as JSON"]
    code: Annotated[Text, "hash of the source files that compute the stage"]
    version: Annotated[Text, "Strata's version"]
    host: Annotated[Text, "name of the machine that ran it"]
    began: Annotated[U64, "when the run began, nanoseconds since 1970-01-01 UTC"]
    seconds: Annotated[F64, "how long its own work took: neither reading the trace, which runs share, nor waiting"]
    requests: Annotated[U64, "rows of the trace that were given to the stage"]
    rows: Annotated[U64, "result rows that were written"]


class Traces(NamedTuple):
    """Every trace in the store, one row each."""

    trace: Annotated[Text, "the trace's name"]
    kind: Annotated[Text, "its kind"]
    trace_hash: Annotated[Text, "hash of its content: what runs are identified by"]
    format: Annotated[Text, "the recorded format it was read from, or the generator that made it"]
    reason: Annotated[Text, "how the format was recognised"]
    rows: Annotated[U64, "records"]
    refused: Annotated[U64, "rows of the source that could not be used (table refused)"]
    moved: Annotated[U64, "records that stood after a later one and were sorted into place"]
    duplicated: Annotated[U64, "records that repeat an earlier one exactly (kept; not counted of memory traces)"]
    reads: Annotated[U64, "read requests (memory: loads and modifies)"]
    writes: Annotated[U64, "write requests (memory: stores and modifies)"]
    others: Annotated[U64, "requests that neither read nor write; NULL of memory traces of older versions"]
    bytes_read: Annotated[U64, "bytes asked for by reads"]
    bytes_written: Annotated[U64, "bytes given by writes"]
    volumes: Annotated[U64, "distinct volumes (memory: address spaces; config, dma: devices)"]
    span: Annotated[U64, "nanoseconds from the first record to the last"]
    clock: Annotated[Text, "what the source's clock counts from: unix, monotonic, relative or ordinal"]
    origin: Annotated[I64, "reading of that clock, in nanoseconds, at the trace's first record"]
    notes: Annotated[Text, "what was odd about the source, as JSON: sentence to count"]
    sources: Annotated[Text, "the files it was read from, with size and SHA-256, as JSON"]


class Volumes(NamedTuple):
    """Every volume (memory: address space; config, dma: device) of every trace, one row each."""

    trace: Annotated[Text, "the trace's name"]
    volume: Annotated[U64, "the volume's number within the trace"]
    name: Annotated[Text, "the source's key of the volume: host and disk, device numbers, file name..."]
    requests: Annotated[U64, "requests"]
    reads: Annotated[U64, "read requests"]
    writes: Annotated[U64, "write requests"]
    others: Annotated[U64, "requests that neither read nor write; NULL as in table traces"]
    bytes_read: Annotated[U64, "bytes asked for by reads"]
    bytes_written: Annotated[U64, "bytes given by writes"]
    extent: Annotated[U64, "one past the last byte that any request touches; one of no told size touches a byte"]
