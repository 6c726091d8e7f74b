"""The kinds of traces, each a table."""

from typing import Any

from traces.block import Block
from traces.dma import Dma
from traces.memory import Memory
from traces.message import Message
from traces.patch import Text
from traces.pci import Config

KINDS: dict[str, type[Any]] = {
    "block": Block,
    "memory": Memory,
    "config": Config,
    "dma": Dma,
    "text": Text,
    "message": Message,
}
ROWS = 1 << 20  # rows of a batch and of a Parquet row group
