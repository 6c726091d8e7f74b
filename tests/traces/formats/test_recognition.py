"""Which format claims which recording: never more than one."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traces.formats import FORMATS
from traces.formats.inputs import inputs

OURS = {
    "blkparse": "blkparse",
    "blktrace_bin": "blktrace",
    "fio_iolog": "fio-iolog",
    "cloudphysics/cloudPhysicsIO.vscsi": "vscsi",
    "cloudphysics/cloudPhysicsIO.csv": "vscsi-csv",
    "cloudphysics/cloudPhysicsIO.oracleGeneral.bin": "oracle",
    "derived/Financial1": "spc",
    "derived/msr": "msr",
    "fiu": "fiu",
    "spc": "spc",
    "thesios": "thesios",
    "address_ls": "ucsd",
    "damon/perf.data.script": "damon",
    "damon/report-raw": "damo-raw",
    "dramsim": "dramsim",
    "drmemtrace/dr_tests/drmemtrace.simple_app": "drmemtrace",
    "drmemtrace/dr_tests/drmemtrace.threadsig.x64.tracedir/drmemtrace": "drmemtrace",
    "drmemtrace/dr_tests/offline-legacy": "drmemtrace",
    "lackey": "lackey",
    "pin_pinatrace/Kyle1213": "pinatrace",
    "usimm": "usimm",
    "B_nvme/blktrace": "blktrace",
    "B_nvme/mkfs_copy.blkparse": "blkparse",
    "B_nvme/sqlite.blkparse": "blkparse",
    "B_nvme/delete_fstrim.blkparse": "blkparse",
    "C_zns/f2fs.blkparse": "blkparse",
    "biosnoop": "biosnoop",
    "ftrace/iosnoop": "iosnoop",
    "ftrace/tpoint": "block-events",
    "B_nvme/block_ftrace.txt": "block-events",
    "B_nvme/nvme.qemu.log": "qemu-nvme",
    "B_nvme/nvme.tsv": "nvme-tsv",
    "C_zns/zns.qemu.log": "qemu-nvme",
    "C_zns/zns.tsv": "nvme-tsv",
    "E_mem/gzip.lackey": "lackey",
    "E_mem/redis-idle.dirty.zst": "soft-dirty",
    "E_mem/redis-set-uniform.dirty.zst": "soft-dirty",
    "E_mem/sqlite.dirty.zst": "soft-dirty",
    "E_mem/sqlite.lackey": "lackey",
    "A_pci/pc-seabios-linux.tsv": "pci-tsv",
    "A_pci/q35-ovmf-none.qemu": "qemu-pci",
    "A_pci/q35-ovmf-none.tsv": "pci-tsv",
    "A_pci/q35-seabios-linux.qemu": "qemu-pci",
    "A_pci/q35-seabios-linux.tsv": "pci-tsv",
    "D_iommu/strict.qemu": "qemu-vtd",
    "D_iommu/strict.tsv": "dma-tsv",
    "D_iommu/strict.guest_ftrace": "iommu-ftrace",
    "kvm_events": "kvm",
    "qemu_trace": "vfio",
    "F_iolog/host-randrw": "fio-iolog",
    "F_iolog/dev-trimwrite": "fio-iolog",
}


@pytest.mark.parametrize("folder", ["public-traces", "captures"])
def test_recordings__are_claimed_by_their_own_format(shared: Path, folder: str) -> None:
    files = sorted(path for path in (shared / folder).rglob("*") if path.is_file())
    assert files
    for path in files:
        stream = inputs(path)[0]
        head = stream.head()
        claims = [name for name, each in FORMATS.items() if each.sniff(stream.name, head)]
        own = [name for place, name in OURS.items() if str(path.relative_to(shared / folder)).startswith(place)]
        assert len(claims) <= 1, path
        if own:
            assert claims == own, path
        else:
            assert not set(claims) & set(OURS.values()), path


def test_our_own_capture__is_claimed_by_its_own_format() -> None:
    stream = inputs(Path(__file__).parents[2] / "golden" / "channel.agent")[0]
    assert [name for name, each in FORMATS.items() if each.sniff(stream.name, stream.head())] == ["agent"]


@settings(max_examples=300)
@given(st.binary(max_size=3000) | st.text(max_size=1000).map(str.encode))
def test_nonsense__is_nothing(data: bytes) -> None:
    for each in FORMATS.values():
        why = each.sniff("name", data)
        assert why is None or isinstance(why, str)
