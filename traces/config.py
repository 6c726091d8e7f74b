"""Configurations: frozen dataclasses, filled from text at the border, with messages a user can act on.

A field carries its bounds and its sentence: ``spare: Annotated[float, Field(gt=0, lt=1, description="...")]``.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import tomlkit
from pydantic import BeforeValidator, PlainSerializer, TypeAdapter, ValidationError, WithJsonSchema
from pydantic.fields import FieldInfo

from traces.amounts import duration, size
from traces.errors import CombinationError, ConfigError, IdleKeyError, nearest

C = TypeVar("C")
E = TypeVar("E", bound=IntEnum)

Bytes = Annotated[int, BeforeValidator(size)]
Nanoseconds = Annotated[int, BeforeValidator(duration)]


if TYPE_CHECKING:
    ByName = Annotated[E, "spelled by name"]
else:

    class ByName:
        """An IntEnum that configurations spell by its member's name, in lower case with dashes."""

        def __class_getitem__(cls, members: type[E] | tuple[E, ...]) -> Any:
            """The annotation for one enumeration, ``ByName[Victim]``, or for some of its members in a tuple."""

            of = type(members[0]) if isinstance(members, tuple) else members

            def parse(value: Any) -> Any:
                known = {spelled(m): m for m in members}
                if isinstance(value, of) and value in known.values():
                    return value
                if not isinstance(value, str) or value.lower().replace("_", "-") not in known:
                    raise ValueError(f"'{value}' is not one of them{nearest(str(value), known)}")
                return known[value.lower().replace("_", "-")]

            return Annotated[
                of,
                BeforeValidator(parse),
                PlainSerializer(spelled, return_type=str),
                WithJsonSchema({"enum": [spelled(m) for m in members], "type": "string"}),
            ]


def without_effect(config: Any, keys: Iterable[str], where: str) -> None:
    """ValueError for the first of the keys that is set, to anything but its default, ``where`` it changes nothing."""
    defaults = {field.name: field.default for field in fields(config)}
    for key in keys:
        if getattr(config, key) != defaults[key]:
            raise ValueError(f"{key} has no effect {where}")


def spelled(member: IntEnum) -> str:
    """``Victim.COST_BENEFIT`` is spelled ``cost-benefit``."""
    return member.name.lower().replace("_", "-")


class Key(NamedTuple):
    """One key of a configuration, for people."""

    name: str
    kind: str
    default: str
    bounds: str
    doc: str


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(config: type[Any]) -> TypeAdapter[Any]:
    """Kept: to make one takes milliseconds."""
    if config not in _ADAPTERS:
        _ADAPTERS[config] = TypeAdapter(config)
    return _ADAPTERS[config]


def configured(config: type[C], settings: Mapping[str, Any]) -> C:
    """Build a configuration; a ConfigError names every key that is unknown or out of bounds.

    CombinationError where keys do not go together. IdleKeyError where some are set, to anything but their defaults,
    that the configuration's ``idle`` says change nothing: a mapping of keys to why, where it has such a method.
    """
    known = {f.name for f in fields(config)}  # type: ignore[arg-type]
    for key in settings:
        if key not in known:
            raise ConfigError(f"unknown key '{key}'{nearest(key, known)}")
    try:
        made: C = _adapter(config).validate_python({k: _whole(v) for k, v in settings.items()})
    except ValidationError as error:
        problems = error.errors()
        kind = ConfigError if any(problem["loc"] for problem in problems) else CombinationError
        raise kind("; ".join(_told(problem) for problem in _telling(problems))) from None
    defaults = {field.name: field.default for field in fields(config)}  # type: ignore[arg-type]
    if idle := {key: why for key, why in idle_keys(made).items() if getattr(made, key) != defaults[key]}:
        raise IdleKeyError(idle)
    return made


def idle_keys(config: Any) -> dict[str, str]:
    """The keys of a configuration that change nothing because of what others are, and when: what its ``idle`` says."""
    idle: dict[str, str] = config.idle() if hasattr(config, "idle") else {}
    return idle


def _telling(problems: Sequence[Any]) -> list[Any]:
    """Without those that say of a list that it is too short because some of it could not be read."""
    unread = {problem["loc"][0] for problem in problems if len(problem["loc"]) > 1}
    return [each for each in problems if each["type"] != "too_short" or each["loc"][0] not in unread]


def _whole(value: Any) -> Any:
    return value.unwrap() if hasattr(value, "unwrap") else value


def _told(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"] if isinstance(part, str) and "[" not in part)
    message = problem["msg"].removeprefix("Value error, ")
    value = problem.get("input")
    if str(value).strip().lower() in ("nan", "+nan", "-nan"):
        message = f"'{value}' is no number"
    named = isinstance(value, dict) or f"'{value}'" in message or f"got {value}" in message
    shown = "" if named else f", got {value!r}"
    hint = ""
    if problem["type"] in ("too_short", "list_type", "tuple_type"):
        hint = "; a list is written a;b;c (commas make a grid of runs), or [[a, b, c]] in a TOML file"
    return f"{where}: {message}{shown}{hint}" if where else message


def split(value: Any) -> Any:
    """A text with semicolons as a list: how the command line gives one."""
    return [each.strip() for each in value.split(";") if each.strip()] if isinstance(value, str) else value


def plain(config: Any) -> dict[str, Any]:
    """A configuration as JSON-ready values; `configured` takes it back."""
    data: dict[str, Any] = _adapter(type(config)).dump_python(config, mode="json")
    return data


def to_json(config: Any) -> str:
    """A configuration as one line of JSON."""
    return json.dumps(plain(config), sort_keys=True)


def to_toml(config: Any) -> str:
    """A configuration as TOML."""
    return tomlkit.dumps(plain(config))


def schema(config: type[Any]) -> dict[str, Any]:
    """The configuration's JSON Schema."""
    told = _adapter(config).json_schema()
    defaults = plain(config())
    hints = get_type_hints(config, include_extras=True)
    for name, field in told["properties"].items():  # pydantic tells defaults and bounds as they are inside
        field["default"] = defaults[name]
        for word, standard in _STANDARD.items():
            if word in field:
                field[standard] = field.pop(word)
        if _reads_units(hints[name]):
            field["anyOf"] = [{"type": field.pop("type")}, {"type": "string", "description": "with a unit"}]
    return told


def keys(config: type[Any]) -> list[Key]:
    """Every key with its type, default, bounds and sentence."""
    hints = get_type_hints(config, include_extras=True)
    described = schema(config)["properties"]
    defaults = plain(config())
    out = []
    for name in hints:
        told = described[name]
        kind = " | ".join(told["enum"]) if "enum" in told else str(told.get("type", _UNITS[_reads_units(hints[name])]))
        kind = "list: a;b;c" if kind == "array" else kind
        out.append(Key(name, kind, str(defaults[name]), *_told_of(hints[name])))
    return out


_UNITS = {size: "bytes, or like 64KiB", duration: "ns, or like 10ms", None: "value"}


def _reads_units(hint: Any) -> Any:
    """What reads values that may be written with a unit (`Bytes`, `Nanoseconds`, or several of them), or None."""
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    validators = [mark.func for mark in marks if isinstance(mark, BeforeValidator)]
    return next((function for function in validators if function in (size, duration)), None)


_STANDARD = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def _told_of(hint: Any) -> tuple[str, str]:
    """Bounds and sentence of a field. The JSON Schema of a validated type (`Bytes`) has lost its bounds."""
    infos = (
        [mark for mark in get_args(hint)[1:] if isinstance(mark, FieldInfo)] if get_origin(hint) is Annotated else []
    )
    bounds = [
        f"{sign} {getattr(mark, word)}"
        for info in infos
        for mark in info.metadata
        for word, sign in _SIGNS.items()
        if getattr(mark, word, None) is not None
    ]
    return ", ".join(bounds), next((info.description for info in infos if info.description), "")
