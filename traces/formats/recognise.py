"""Which format a recording is of, by what stands in it; where that is not clear, why, and what can be done."""

import shlex
import zlib
from collections.abc import Sequence

from traces.errors import TraceError, nearest
from traces.formats import FORMATS
from traces.formats.ambiguous import candidates
from traces.formats.inputs import HEAD, Input, unpacked
from traces.formats.reader import Format, Options

BESIDE = {each.beside for each in FORMATS.values() if each.beside}  # names of files that only accompany others

# what programs keep for themselves -> whose it is, and how it becomes text: linux, perf.data-file-format.txt
_FOREIGN = {
    b"PERFILE2": ("perf's own recording", "perf script -i {file} > {file}.txt"),
    b"2ELIFREP": ("perf's own recording", "perf script -i {file} > {file}.txt"),
    b"\x17\x08\x44tracing": ("trace-cmd's own recording", "trace-cmd report {file} > {file}.txt"),  # trace-cmd.dat(5)
}
_DAMO = ("damo's own recording", "damo report raw --input {file} > {file}.txt")  # JSON, compressed with zlib
_SHORTEST = 256  # bytes of a head that are judged alone


def detect(sources: Sequence[Input], declared: str | None, options: Options) -> tuple[Format, str]:
    """The format of a trace and why, by the first file that is not empty; TraceError where it is not clear."""
    if options.columns and declared in (None, "delimited"):
        return FORMATS["delimited"], f"declared: {options.columns}"
    if declared is not None:
        if declared not in FORMATS:
            raise TraceError(f"unknown format '{declared}'{nearest(declared, FORMATS)}")
        return FORMATS[declared], "declared"
    ordered = sorted(sources, key=lambda each: each.label in BESIDE)
    source, head = next(((each, head) for each in ordered if (head := each.head())), (sources[0], b""))
    if not head:
        raise TraceError(f"{source.name}: the file is empty")
    reasons = _reasons(source, head)
    if len(reasons) == 1:
        name, why = next(iter(reasons.items()))
        return FORMATS[name], why
    if reasons:
        told_of = "; ".join(f"--format {name} ({why})" for name, why in reasons.items())
        raise TraceError(f"{source.name}: more than one format fits, declare one: {told_of}")
    raise TraceError(_not_recognised(source, head))


def _reasons(source: Input, head: bytes) -> dict[str, str]:
    return {name: why for name, each in FORMATS.items() if (why := each.sniff(source.name, head))}


def _not_recognised(source: Input, head: bytes) -> str:
    """What is known of a file that no format claims, what could be done first."""
    what = f"{source.path} ({source.member} in it)" if source.member else source.name
    if foreign := _foreign(head):
        whose, command = foreign
        plain = shlex.quote(str(source.path.with_name(unpacked(source.path.name))))
        first = "" if unpacked(source.path.name) == source.path.name else "unpack it, "
        return (
            f"{what}: {whose}, which is not read; {first}print it as text and ingest that: {command.format(file=plain)}"
        )
    known = _begins_like(source, head) or candidates(str(source.path), head)
    return (
        f"{what}: the format is not recognised{known}{f'{chr(10)}else ' if known else '; '}"
        "declare it with --format (`strata formats` lists them) "
        'or map its columns with --columns "time=0:us,op=1,offset=2:sector,length=3:B"'
    )


def _foreign(head: bytes) -> tuple[str, str] | None:
    for magic, answer in _FOREIGN.items():
        if head.startswith(magic):
            return answer
    if head[:1] == b"\x78":
        try:
            head = zlib.decompressobj().decompress(head, _SHORTEST)
        except zlib.error:
            return None
    return _DAMO if head[:1] in (b"[", b"{") and b'"kdamond_idx"' in head[:_SHORTEST] else None


def _begins_like(source: Input, head: bytes) -> str:
    """The format that a file whose head is damaged begins like; empty where there is none."""
    control = next((at for at, byte in enumerate(head) if byte < 32 and byte not in (9, 10, 13)), len(head))
    for length in (head.rfind(b"\n", 0, control) + 1, *(HEAD >> shift for shift in range(1, 9))):
        part = head[:length]
        if not 0 < length < len(head) or (length < _SHORTEST and length > control):
            continue
        reasons = _reasons(source, part)
        if len(reasons) == 1:
            name, why = next(iter(reasons.items()))
            return (
                f", but its first {length} bytes are like {name} ({why}) and what follows is not: the file may be "
                f"damaged\n  strata ingest {shlex.quote(str(source.path))} --format {name}"
                "  # refuses what is no record, and says so"
            )
    return ""
