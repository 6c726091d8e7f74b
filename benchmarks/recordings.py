"""What the readers are measured on: one input of many megabytes for every recorded format.

Where there is a recording its lines or records are repeated, with what must stand once before them; readers that match
requests with their completions get every repetition later than the one before. Where there is none, lines or records
of the right shape are made here.
"""

import os
import random
import re
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmarks import records
from traces.export import export
from traces.formats.inputs import Input
from traces.formats.reader import Options
from traces.store import Store
from traces.workloads import make as write_trace

_HOUSE = Path(__file__).parents[1]
_SHARED = Path(os.environ.get("STRATA_SHARED") or _HOUSE.parent / "shared")
_PLACES = (_HOUSE / "traces/samples", _HOUSE / "tests/golden", _SHARED / "captures", _SHARED / "public-traces")
_LINES = 20_000  # that are made before they are repeated

Later = Callable[[bytes, int], bytes]  # a copy of the repeated bytes, the n-th


@dataclass(frozen=True, kw_only=True)
class Case:
    """How a format's input comes about; ``once`` lines stand at its start alone, ``drop`` are left out at the end."""

    source: str | bytes | Callable[[], bytes]  # a recording's place, or what is made here
    kind: str = "text"  # text, delimited, binary or lackey: which goal it has
    once: int = 0
    head: bytes = b""
    drop: int = 0
    later: Later | None = None
    name: str = "recording"
    options: Options = field(default_factory=Options)


def input_of(case: Case, folder: Path, size: int) -> tuple[Path, int] | None:
    """A file of at least ``size`` bytes and how many of its first lines are no records; None without its recording."""
    data = _whole(case)
    if data is None:
        return None
    cut = 0
    for _ in range(case.once):
        cut = data.index(b"\n", cut) + 1
    once, body = case.head + data[:cut], data[cut:]
    if case.kind != "binary" and not body.endswith(b"\n"):
        body += b"\n"
    for _ in range(case.drop):
        body = body[: body.rindex(b"\n", 0, -1) + 1]
    path = folder / case.name
    with path.open("wb") as file:
        file.write(once)
        for copy in range(-(-size // len(body))):
            file.write(case.later(body, copy) if case.later else body)
    return path, once.count(b"\n") if case.kind != "binary" else 0


@lru_cache(maxsize=1)
def _whole(case: Case) -> bytes | None:
    if isinstance(case.source, bytes):
        return case.source
    if not isinstance(case.source, str):
        return case.source()
    for place in _PLACES:
        if (path := place / case.source).is_file():
            return b"".join(_plain(path))
    return None


def _plain(path: Path) -> Iterator[bytes]:
    with Input(path, str(path)).open() as stream:
        while block := stream.read(1 << 22):
            yield block


def seconds_later(pattern: bytes, step: int) -> Later:
    """Adds seconds to the number that stands between the pattern's two groups."""
    place = re.compile(pattern, re.MULTILINE)

    def later(data: bytes, copy: int) -> bytes:
        return place.sub(lambda m: b"%b%*d%b" % (m[1], len(m[2]), int(m[2]) + copy * step, m[3]), data)

    return later


def _blktrace_later(data: bytes, copy: int) -> bytes:
    at, places = 0, []
    while at < len(data):
        places.append(at)
        at += 48 + struct.unpack_from("<H", data, at + 46)[0]
    shifted = np.frombuffer(data, np.uint8).copy()
    where = np.array(places)[:, None] + np.arange(8, 16)
    time = shifted[where].view(np.uint64) + np.uint64(copy * 10**12)
    shifted[where] = time.view(np.uint8)
    return shifted.tobytes()


def made(*lines: str) -> Callable[[], bytes]:
    """Lines of a shape; their places are the names below, the shapes take turns."""

    def write() -> bytes:
        rng, out = random.Random(1), []
        for i in range(_LINES):
            sector, sectors = rng.randrange(1 << 28) * 8, rng.choice((1, 8, 8, 16, 128))
            pid, read = rng.randrange(300, 330), rng.random() < 0.6
            told = {
                "i": i,
                "us": 1_577_808_000_000_000 + 73 * i,
                "s": 1_577_808_000 + i // 2000,
                "ns": 13_118_000 + 37_000 * i,
                "at": f"{5000 + i // 10_000}.{i % 10_000 * 100:06}",
                "late": rng.randrange(20, 9000),
                "sector": sector,
                "sectors": sectors,
                "byte": sector * 512,
                "bytes": sectors * 512,
                "pid": pid,
                "tid": pid + rng.randrange(3),
                "disk": rng.randrange(12),
                "rw": "R" if read else "W",
                "word": "Read" if read else "Write",
                "is_read": int(read),
                "is_write": int(not read),
                "verb": "loads" if read else "stores",
                "address": 0x7FFD_0000_0000 + rng.randrange(1 << 28) * 8,
                "ip": 0x55B3_0000_0000 + rng.randrange(1 << 16) * 4,
            }
            out.append(lines[i % len(lines)].format(**told))
        return "".join(out).encode()

    return write


_ETW_HEAD = b"""\
BeginHeader
 DiskRead, TimeStamp, Process Name ( PID), ThreadID, IrpPtr, ByteOffset, IOSize, ElapsedTime, DiskNum, IrpFlags, \
DiskSvcTime, I/O Pri, VolSnap, FileObject, FileName
 DiskWrite, TimeStamp, Process Name ( PID), ThreadID, IrpPtr, ByteOffset, IOSize, ElapsedTime, DiskNum, IrpFlags, \
DiskSvcTime, I/O Pri, VolSnap, FileObject, FileName
EndHeader
"""
_BIOSNOOP = b"TIME(s)     COMM           PID    DISK    T SECTOR     BYTES   LAT(ms)\n"
_IOSNOOP = (
    b"Tracing block I/O. Ctrl-C to end.\n"
    b"STARTs         ENDs           COMM             PID    TYPE DEV      BLOCK        BYTES     LATms\n"
)
_KVM = (
    "  CPU 0/KVM-{pid}  [003] d....   {at}: kvm_exit: vcpu 1 reason IO_INSTRUCTION rip 0x{ip:x} info1 0xcfc0009 "
    "info2 0x0 intr_info 0x00000000 error_code 0x00000000\n",
    "  CPU 0/KVM-{pid}  [003] d....   {at}: kvm_pio: pio_write at 0xcf8 size 4 count 1 val 0x8000{sectors:04x} \n",
    "  CPU 0/KVM-{pid}  [003] d....   {at}: kvm_pio: pio_read at 0xcfc size 2 count 1 val 0x8086 \n",
    "  CPU 0/KVM-{pid}  [003] d....   {at}: kvm_entry: vcpu 1, rip 0x{ip:x}\n",
    "  CPU 0/KVM-{pid}  [003] d....   {at}: kvm_exit: vcpu 1 reason EPT_MISCONFIG rip 0x{ip:x} info1 0x0 "
    "info2 0x0 intr_info 0x00000000 error_code 0x00000000\n",
    "  CPU 0/KVM-{pid}  [003] .....   {at}: kvm_mmio: mmio write len 4 gpa 0xfee000b0 val 0x0\n",
    "  CPU 0/KVM-{pid}  [003] d....   {at}: kvm_page_fault: vcpu 1 rip 0x{ip:x} address 0x{byte:x} error_code 0x182\n",
    "  CPU 0/KVM-{pid}  [003] .....   {at}: kvm_apic_accept_irq: apicid 0 vec 236 (Fixed|edge)\n",
)
_PERF_MEM = (
    "  ls  {pid}/{tid}  [003]  {at}:          5  cpu/mem-{verb},ldlat=30/P:     {address:x}      {late}     "
    "{ip:x} noploop+0x1c (/bin/perf)\n"
)
_POKE = (
    "     kworker/0:1    99 [001]   {at}: PERF_RECORD_TEXT_POKE {address:x} __schedule+0x0 old len 5 new len 5\n"
    "            Old bytes: 0f 1f 44 00 00\n"
    "            New bytes: e9 6b 37 7c 37\n"
)


def _left(workload: str, **settings: int) -> Callable[[], bytes]:
    """A generated trace, as it leaves as CSV."""

    @lru_cache(maxsize=1)
    def make() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            store, file = Store(Path(folder)), Path(folder) / "x.csv"
            write_trace(store, workload, "x", settings)
            export(store, "x", "csv", file)
            return file.read_bytes()

    return make


CASES: dict[str, Case] = {
    "blktrace": Case(source="sqlite.blktrace.0.zst", kind="binary", later=_blktrace_later, name="x.blktrace.0"),
    "blkparse": Case(
        source="B_nvme/sqlite.blkparse.txt.zst", later=seconds_later(rb"^( *\d+,\d+ +\d+ +\d+ +)(\d+)(\.\d{9} )", 100)
    ),
    "block-events": Case(
        source="B_nvme/block_ftrace.txt.zst", later=seconds_later(rb"(\] [^ ]+ +)(\d+)(\.\d+: )", 900)
    ),
    "biosnoop": Case(
        source=made("{at} tmux: server   {pid}   nvme{disk}n1   {rw} {sector} {bytes}  0.{late}\n"), head=_BIOSNOOP
    ),
    "iosnoop": Case(
        source=made("{at} {at} supervise {pid} {rw}S  202,{disk}  {sector} {bytes}  0.{late}\n"), head=_IOSNOOP
    ),
    "iotrace": Case(source=records.iotrace, kind="binary", name="octf.trace.0"),
    "qemu-nvme": Case(source="B_nvme/nvme.qemu.log.zst", later=seconds_later(rb"^(\d+@)(\d+)(\.\d+:)", 900)),
    "nvme-tsv": Case(source="B_nvme/nvme.tsv.zst", kind="delimited", once=1),
    "fio-iolog": Case(source="F_iolog/host-randrw-zipf.iolog.zst", once=3, drop=1),
    "vscsi": Case(source="cloudphysics/cloudPhysicsIO.vscsi", kind="binary"),
    "vscsi-csv": Case(source="cloudphysics/cloudPhysicsIO.csv", kind="delimited", once=1),
    "msr": Case(source="derived/msr_csv_shape_from_heimdall_cuts.csv", kind="delimited"),
    "spc": Case(source="spc/Financial_mini.spc", kind="delimited"),
    "fiu": Case(source=made("{us}000 {pid} nfsd {sector} {sectors} {rw} 6 {disk} 88b93b628d84082186026d9da044f173\n")),
    "systor": Case(
        source=made("{s}.{ns:09},0.000{late},{rw},{disk},{byte},{bytes}\n"),
        kind="delimited",
        head=b"Timestamp,Response,IOType,LUN,Offset,Size\n",
        name="2016022219-LUN4.csv",
    ),
    "alibaba": Case(source=made("{disk},{rw},{byte},{bytes},{us}\n"), kind="delimited"),
    "thesios": Case(source="thesios/thesios_sample_data.csv", kind="delimited", once=1),
    "etw": Case(
        source=made(
            "   Disk{word},  {i},    store.exe ({pid}),       {tid}, 0xfffffade5c4e7ab0, 0x{byte:013x}, 0x{bytes:08x}, "
            '      {late},        {disk}, 0x060043,         318,  Normal,  ,  0xfffffade5c4e7ab0, "D:\\db.edb"\n'
        ),
        head=_ETW_HEAD,
    ),
    "diskmon": Case(
        source=made("{i}\t{at}\t0.0000{late}\t{disk}\t{word}\t{sector}\t{sectors}\t\r\n"), kind="delimited"
    ),
    "oracle": Case(source="cloudphysics/cloudPhysicsIO.oracleGeneral.bin", kind="binary"),
    "oracle-opns": Case(source=records.oracle_opns, kind="binary"),
    "lcs": Case(source=records.lcs, kind="binary", head=records.LCS_HEAD),
    "tencent": Case(source=made("{s},{sector},{sectors},{is_write},{pid}\n"), kind="delimited"),
    "tencent-bytes": Case(source=made("{s},{byte},{bytes},{is_write},{pid}\n"), kind="delimited"),
    "mqsim": Case(source="mqsim_ascii/tpcc-small.trace", kind="delimited"),
    "disksim": Case(source="disksim_ascii/ascii.trace.zst", kind="delimited"),
    "ssdsim": Case(source="disksim_ascii/ssdsim_example.ascii", kind="delimited"),
    "replayer": Case(source="msr_heimdall_replayer/msr.cut.per_10k.rw_20_80.105.trace", kind="delimited"),
    "replayer-log": Case(
        source=made("{at},{late},{is_read},{bytes},{byte},{at},{bytes}\n"), kind="delimited", name="x.log"
    ),
    "fio-log": Case(
        source=made("{i}, {late}, {is_write}, {bytes}, {byte}, 0\n"), kind="delimited", name="job_clat.1.log"
    ),
    "lackey": Case(source="E_mem/gzip.lackey.zst", kind="lackey"),
    "drmemtrace": Case(source=records.drmemtrace, kind="binary", head=records.DRMEMTRACE_HEAD),
    "drmemtrace-view": Case(
        source=made(
            "       {i}       {i}:     {tid} ifetch       6 byte(s) @ 0x{ip:016x} 0f 84 5b 01 00 00    jz  $0x404bd9\n",
            "       {i}       {i}:     {tid} read         8 byte(s) @ 0x{address:016x} by PC 0x{ip:016x}\n",
        ),
        head=b"           6           0:     300 <marker: timestamp 13386385969186755>\n",
    ),
    "pinatrace": Case(source="pin_pinatrace/Kyle1213_pinatrace.out.zst"),
    "perf-mem": Case(source=made(_PERF_MEM)),
    "champsim": Case(source=records.champsim(64, 4, 0), kind="binary"),
    "champsim-load-type": Case(source=records.champsim(72, 4, 1), kind="binary"),
    "champsim-cloudsuite": Case(source=records.champsim(96, 4, 1), kind="binary"),
    "gem5": Case(source=records.gem5, kind="binary", head=records.GEM5_HEAD),
    "ramulator": Case(source="ramulator/445.gobmk.gz"),
    "usimm": Case(source="usimm/faceshort"),
    "dramsim": Case(source="dramsim/mase_art.trc.gz"),
    "din": Case(source=made("{is_write} {address:x}\n")),
    "ucsd": Case(source="address_ls/gcc.trace.gz"),
    "damon": Case(source="damon/perf.data.script.zst"),
    "damo-raw": Case(source="damon/report-raw.txt.zst"),
    "soft-dirty": Case(source="E_mem/redis-set-uniform.dirty.zst"),
    "qemu-pci": Case(source="A_pci/q35-seabios-linux.qemu.log.zst"),
    "pci-tsv": Case(source="A_pci/q35-seabios-linux.tsv.zst", kind="delimited", once=1),
    "agent": Case(source=records.agent, kind="binary"),
    "vfio": Case(source="qemu_trace/vfio_boot-hybernate.log.zst"),
    "kvm": Case(source=made(*_KVM)),
    "qemu-vtd": Case(source="D_iommu/strict.qemu.log.zst"),
    "dma-tsv": Case(source="D_iommu/strict.tsv.zst", kind="delimited", once=1),
    "iommu-ftrace": Case(source="D_iommu/strict.guest_ftrace.txt.zst"),
    "text-poke": Case(source=made(_POKE)),
    "delimited": Case(
        source="derived/msr_csv_shape_from_heimdall_cuts.csv",
        kind="delimited",
        options=Options(columns="time=0:filetime,op=3,offset=4,length=5,volume=1+2,latency=6:filetime,sep=,"),
    ),
    "csv-block": Case(source=_left("zipf", requests=_LINES), kind="delimited", once=1),
    "csv-memory": Case(source=_left("zipf-pages", accesses=_LINES), kind="delimited", once=1),
    "csv-config": Case(source=_left("pci-scan", rescans=0), kind="delimited", once=1),
    "csv-dma": Case(source=_left("dma", events=_LINES), kind="delimited", once=1),
    "csv-text": Case(source=_left("text-patches", writes=_LINES), kind="delimited", once=1),
    "csv-message": Case(source=_left("messages", messages=_LINES), kind="delimited", once=1),
}
