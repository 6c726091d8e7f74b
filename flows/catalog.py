"""What the catalog holds: the tables of every floor and the macros of ``flows/macros``."""

import re
from pathlib import Path
from typing import Any

from pipeline import STAGES
from traces import catalog
from traces.catalog import STORE_TABLES, Macro
from traces.kinds import KINDS
from traces.profile import PROFILE_TABLES
from traces.store import Store

_MACROS = Path(__file__).parent / "macros"


def tables() -> list[type[Any]]:
    """Every declared table, once: trace kinds, the store's own, profiles of traces, what the stages write."""
    results = [table for stage in STAGES.values() for table in stage.writes]
    return list(dict.fromkeys([*KINDS.values(), *STORE_TABLES, *PROFILE_TABLES, *results]))


def macros() -> list[Macro]:
    """Every file of ``flows/macros``: the first line, a comment, says what it answers; the rest makes it."""
    made = []
    for file in sorted(_MACROS.glob("*.sql")):
        comment, sql = file.read_text().split("\n", 1)
        rows = re.search(r"\)\s+AS\s+TABLE\b", sql) is not None
        made.append(Macro(file.stem, sql.strip(), comment.removeprefix("-- "), rows))
    return made


def publish(store: Store) -> Path:
    """Build the catalog anew over all that the store holds; see `traces.catalog.publish`."""
    return catalog.publish(store, tables(), macros())
