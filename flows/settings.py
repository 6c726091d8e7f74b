"""Settings as they are written on the command line and in TOML files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from traces.errors import ConfigError


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key.strip() or not value.strip():
        raise ConfigError(f"--set {text}: write it as KEY=VALUE")
    return key.strip(), value.strip()


def single(texts: Sequence[str]) -> dict[str, str]:
    """``["theta=0.9"]`` as ``{"theta": "0.9"}``; ConfigError where a key is given twice."""
    settings: dict[str, str] = {}
    for key, value in map(_pair, texts):
        if key in settings:
            raise ConfigError(f"--set {key}: given twice")
        settings[key] = value
    return settings


def many(texts: Sequence[str]) -> dict[str, list[Any]]:
    """``["spare=.07,.1"]`` as ``{"spare": [".07", ".1"]}``."""
    settings: dict[str, list[Any]] = {}
    for key, value in single(texts).items():
        settings[key] = [each.strip() for each in value.split(",")]
        if "" in settings[key]:
            raise ConfigError(f"--set {key}={value}: a value between commas is missing")
    return settings


def brief(value: Any) -> str:
    """A setting in few words: of a list of more than three values how many there are; ``4096 (30 times)``."""
    if not isinstance(value, list | tuple):
        return str(value)
    if len(value) > 1 and len({str(each) for each in value}) == 1:
        return f"{value[0]} ({len(value)} times)"
    shown = ";".join(str(each) for each in value[:3])
    return f"{shown};... ({len(value)} values)" if len(value) > 3 else shown


def from_file(path: Path) -> dict[str, list[Any]]:
    """The keys of a TOML file, each with its value or its list of values; ConfigError where it cannot be read."""
    import tomllib

    try:
        data = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML ({error})") from None
    return {key: value if isinstance(value, list) else [value] for key, value in data.items()}
