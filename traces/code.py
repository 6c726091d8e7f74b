"""Which source files compute a result: part of a run's identity."""

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_FLOORS = ("traces", "pipeline", "models")


def _file(module: str) -> Path | None:
    spec = importlib.util.find_spec(module) if module.split(".", maxsplit=1)[0] in _FLOORS else None
    return Path(spec.origin) if spec and spec.origin else None


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """All statements, however deep; expressions hold no imports and most of the nodes."""
    for node in body:
        yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from _statements(getattr(node, name, []))


@cache
def _imports(file: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in _statements(ast.parse(file.read_bytes()).body):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(name for name in names if name.split(".")[0] in _FLOORS)


def _closure(module: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            file = _file(name)
        except ModuleNotFoundError:  # `from module import thing`: thing is no module
            continue
        if file is None:
            continue
        found[name] = file
        waiting.extend(_imports(file))
    return found


@cache
def code_hash(module: str) -> str:
    """A hash over the module's source and that of everything of ours that it imports, however far."""
    digest = hashlib.sha256()
    for name, file in sorted(_closure(module).items()):
        digest.update(name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
