"""The table of limits in docs/security.md, written from the limits themselves."""

from __future__ import annotations

from importlib import import_module

import tfcli.limits
from tfcli.limits import Limit

BEGIN, END = "<!-- limits, written by scripts/reference -->", "<!-- end of limits -->"

# Limits that a format has by itself stand beside its reader.
_FORMATS = (
    ("checkpoints.io.header.MAX_HEADER", "bytes", "the header of a safetensors file"),
    ("checkpoints.io.header.MAX_DIMENSIONS", "dimensions", "a tensor"),
    ("checkpoints.torch.zip.MAX_PICKLE", "bytes", "the pickle in a .bin or .pt file"),
    ("checkpoints.torch.zip_directory.MAX_ENTRIES", "entries", "a zip archive of tensors"),
    ("checkpoints.torch.zip_directory.MAX_DIRECTORY", "bytes", "its directory"),
    ("checkpoints.torch.pickle.machine.BUDGET", "bytes of memory", "what a pickle makes"),
    ("checkpoints.torch.pickle.opcodes.MAX_TEXT", "bytes", "a text in a pickle"),
    ("checkpoints.torch.pickle.tree.MAX_DEPTH", "levels", "dictionaries in a pickle"),
    ("checkpoints.gguf.cursor.MAX_METADATA", "bytes", "all keys and values of a GGUF file"),
    ("checkpoints.gguf.cursor.MAX_TEXTS", "texts", "all lists of a GGUF file"),
    ("checkpoints.gguf.header.MAX_KEYS", "keys", "a GGUF file"),
    ("checkpoints.gguf.header.MAX_TENSORS", "tensors", "a GGUF file"),
    ("checkpoints.gguf.header.MAX_NAME", "bytes", "a tensor's name in a GGUF file"),
    ("checkpoints.gguf.split.MAX_PARTS", "files", "a split GGUF"),
    ("checkpoints.dcp.metadata.MAX_METADATA", "bytes", "the .metadata of a DCP folder"),
)


def limits_table() -> str:
    """A row for each limit: of what, how much."""
    rows = [(limit.what, limit, limit.unit) for limit in all_limits().values()]
    for place, unit, what in _FORMATS:
        module, _, name = place.rpartition(".")
        rows.append((what, getattr(import_module(f"tfcli.{module}"), name), unit))
    lines = ["| what | at most |", "|---|---|"]
    lines += [f"| {what} | {value:,} {unit}".rstrip() + " |" for what, value, unit in rows]
    return "\n".join(lines)


def all_limits() -> dict[str, Limit]:
    """Name in `tfcli.limits` -> limit."""
    return {name: value for name, value in vars(tfcli.limits).items() if isinstance(value, Limit)}


def with_limits(text: str) -> str:
    """A page with its table as it is now."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{limits_table()}\n{END}{rest.partition(END)[2]}"
