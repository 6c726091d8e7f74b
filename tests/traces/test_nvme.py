import polars as pl
import pytest

from traces.nvme import NOT_TOLD, recorded_status

WORDS = [
    ("WRITE", 0),
    ("WRITE 0x41bc", 0x1BC),
    ("write 0x281", 0x281),
    ("zone_reset_all 0x4002", 0x002),
    ("ZONE_SET_DESCRIPTOR_EXTENSION", 0),
    ("NVME_ZONED_CMD_MGMT_SEND ZONE_CLOSE_ALL", 0),
    ("NVME_ZONED_CMD_MGMT_SEND ZONE_RESET unaligned 0x4002", 0x002),
    ("MGMT_SEND action 0x33 0x4002", 0x002),
    ("DSM without ranges", 0),
    ("FLUSH ?", NOT_TOLD),
    ("WS", NOT_TOLD),
    ("erase", NOT_TOLD),
    ("", NOT_TOLD),
    (None, NOT_TOLD),
]


@pytest.mark.parametrize("kind", [pl.Categorical, pl.String])
def test_recorded_status__of_each_word(kind: type[pl.DataType]) -> None:
    batch = pl.DataFrame({"raw": pl.Series([word for word, _ in WORDS * 3], dtype=kind)})
    assert recorded_status(batch).tolist() == [status for _, status in WORDS * 3]


def test_recorded_status__of_no_rows() -> None:
    assert recorded_status(pl.DataFrame({"raw": pl.Series([], dtype=pl.Categorical)})).tolist() == []
