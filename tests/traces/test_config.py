import tomllib
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from traces.amounts import size
from traces.config import ByName, Bytes, Nanoseconds, configured, keys, plain, schema, to_json, to_toml, without_effect
from traces.errors import ConfigError, nearest


class Colour(IntEnum):
    RED = 0
    DARK_BLUE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Paint:
    share: Annotated[float, Field(gt=0, lt=1, description="share of the wall")] = 0.5
    colour: Annotated[ByName[Colour], Field(description="its colour")] = Colour.RED
    tin: Annotated[Bytes, Field(ge=1, description="bytes of a tin")] = 4096
    dry: Annotated[Nanoseconds, Field(ge=0, description="nanoseconds until it is dry")] = 0
    coats: Annotated[tuple[int, ...], Field(description="coats a wall")] = ()

    def __post_init__(self) -> None:
        if self.colour is Colour.DARK_BLUE and self.share > 0.9:
            raise ValueError(f"dark blue covers at most 0.9 of a wall, got {self.share}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Walls:
    coats: Annotated[tuple[int, ...], Field(min_length=2, description="coats a wall")] = (1, 1)


@given(
    st.builds(
        Paint,
        share=st.floats(0.01, 0.9),
        colour=st.sampled_from(Colour),
        tin=st.integers(1, 2**50),
        dry=st.integers(0, 2**50),
        coats=st.lists(st.integers(0, 9)).map(tuple),
    )
)
def test_configs__survive_json_and_toml(paint: Paint) -> None:
    assert configured(Paint, plain(paint)) == paint
    assert configured(Paint, tomllib.loads(to_toml(paint))) == paint
    assert '"colour": "' in to_json(paint)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4096", 4096),
        ("4KiB", 4096),
        ("4k", 4096),
        ("1.5 GiB", 3 << 29),
        ("2GB", 2 * 10**9),
        ("7B", 7),
        ("1TiB", 1 << 40),
    ],
)
def test_sizes__are_read_as_people_write_them(text: str, value: int) -> None:
    assert size(text) == value


def test_durations__are_nanoseconds() -> None:
    assert configured(Paint, {"dry": "1.5s"}).dry == 1_500_000_000
    assert configured(Paint, {"dry": "5min"}).dry == 300 * 10**9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shar": 1}, "unknown key 'shar'; did you mean 'share'"),
        ({"share": 2}, "share: Input should be less than 1, got 2"),
        ({"share": "much"}, "share: .*valid number.*'much'"),
        ({"colour": "dark-bleu"}, "colour: 'dark-bleu' is not one of them; did you mean 'dark-blue'"),
        ({"colour": 1}, "colour: '1' is not one of them"),
        ({"tin": "3 buckets"}, "tin: '3 buckets' is no amount; write it like"),
        ({"tin": "0.3"}, "tin: '0.3' is not a whole number"),
        ({"tin": 0}, "tin: .*greater than or equal to 1, got 0"),
        ({"share": 0}, "share: Input should be greater than 0, got 0"),
        ({"colour": "dark_blue", "share": 0.95}, "dark blue covers at most 0.9 of a wall, got 0.95"),
    ],
)
def test_mistakes__are_told_with_key_value_and_bound(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(Paint, settings)


def test_mistakes__nan_is_no_number() -> None:
    for value in ("nan", " NaN", float("nan")):
        with pytest.raises(ConfigError, match=r"^share: '\s?nan' is no number$|^share: ' NaN' is no number$"):
            configured(Paint, {"share": value})


def test_mistakes__in_a_list_are_told_and_not_its_length() -> None:
    with pytest.raises(ConfigError, match=r"^coats: [^;]*'many'$"):
        configured(Walls, {"coats": ["many"]})
    with pytest.raises(ConfigError, match=r"^coats: .*at least 2 items"):
        configured(Walls, {"coats": [1]})


def test_without_effect__names_what_is_set_in_vain() -> None:
    without_effect(Paint(), ("share", "tin"), "in the dark")
    with pytest.raises(ValueError, match="tin has no effect in the dark"):
        without_effect(Paint(tin=1), ("share", "tin"), "in the dark")


def test_mistakes__are_told_all_at_once() -> None:
    with pytest.raises(ConfigError, match=r"share.*; colour.*; tin"):
        configured(Paint, {"share": 2, "colour": "x", "tin": 0})


def test_keys__are_told_to_people() -> None:
    told = {key.name: key for key in keys(Paint)}
    assert told["share"] == ("share", "number", "0.5", "> 0, < 1", "share of the wall")
    assert told["tin"].bounds == ">= 1"
    assert told["colour"].kind == "red | dark-blue"
    assert schema(Paint)["properties"]["colour"]["enum"] == ["red", "dark-blue"]


def test_nearest__names_what_was_meant() -> None:
    assert nearest("gredy", ["greedy", "fifo"]) == "; did you mean 'greedy'? (known: fifo, greedy)"
    assert nearest("zzz", []) == " (known: none)"
