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
    "B_nvme/blktrace": "blktrace",
    "B_nvme/mkfs_copy.blkparse": "blkparse",
    "B_nvme/sqlite.blkparse": "blkparse",
    "B_nvme/delete_fstrim.blkparse": "blkparse",
    "C_zns/f2fs.blkparse": "blkparse",
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


@settings(max_examples=300)
@given(st.binary(max_size=3000) | st.text(max_size=1000).map(str.encode))
def test_nonsense__is_nothing(data: bytes) -> None:
    for each in FORMATS.values():
        why = each.sniff("name", data)
        assert why is None or isinstance(why, str)
