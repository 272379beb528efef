"""What a GGUF file cannot say of a checkpoint in its own keys, kept under `tfcli.` ones.

Other programs pass over them. With them a checkpoint comes back as it was: its config.json, the
types of its tensors, and the last bits of norms that GGUF stores plus one.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.io.dtypes import FLOATS
from tfcli.checkpoints.strict_json import parse_object
from tfcli.errors import ModelError, WorkError

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, DTYPE, OTHERS, BARE = "tfcli.config", "tfcli.dtype", "tfcli.other_dtypes", "tfcli.bare"
REMAINDER = "tfcli.remainder."  # of a tensor that is stored plus one, what rounding took
_CODE = ("auto_map", "custom_pipelines", "trust_remote_code")  # names of code; never passed on


def without_code(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without the keys that name code."""
    return {key: value for key, value in config.items() if key not in _CODE}


@dataclass(frozen=True)
class Record:
    """What a file says under `tfcli.` keys.

    Args:
        config: the content of config.json; None where the file has none.
        dtype: the type of the checkpoint's tensors; None: not known.
        others: name -> type, of tensors that have another.
        bare: the names lack the body's prefix.
        remainders: GGUF name -> what adding one lost.
    """

    config: dict[str, Any] | None = None
    dtype: str | None = None
    others: dict[str, str] = field(default_factory=dict)
    bare: bool = False
    remainders: dict[str, array[float]] = field(default_factory=dict)

    def dtype_of(self, name: str) -> str | None:
        """The type that a checkpoint's tensor had; None: not known."""
        return self.others.get(name, self.dtype)


def write_record(
    config: Mapping[str, Any], dtypes: Mapping[str, str], bare: bool
) -> dict[str, Value]:
    """The keys for a checkpoint.

    Args:
        config: the content of its config.json.
        dtypes: name -> type of each tensor.
        bare: the names lack the body's prefix.
    """
    plain = without_code(config)
    main = max(set(dtypes.values()), key=list(dtypes.values()).count, default="F32")
    others = {name: code for name, code in dtypes.items() if code != main}
    found = {
        CONFIG: Value("string", json.dumps(plain, ensure_ascii=False)),
        DTYPE: Value("string", main),
    }
    if others:
        found[OTHERS] = Value("string", json.dumps(others, ensure_ascii=False))
    if bare:
        found[BARE] = Value("bool", True)
    return found


def read_record(metadata: Mapping[str, Any], where: str) -> Record:
    """The record in a file's metadata; empty where another program wrote the file.

    Raises:
        WorkError: a key that is there and has no such value.
    """
    config = metadata.get(CONFIG)
    if config is not None:
        config = parse_object(_text(config, CONFIG, where).encode(), where=f"{where}: {CONFIG}")
        config = without_code(config)
    dtype = metadata.get(DTYPE)
    others = metadata.get(OTHERS)
    others = (
        {}
        if others is None
        else parse_object(_text(others, OTHERS, where).encode(), where=f"{where}: {OTHERS}")
    )
    for code in (*others.values(), *([] if dtype is None else [dtype])):
        if code not in FLOATS:
            raise WorkError(f"{DTYPE}: {str(code)[:40]!r} is no floating type", where=where)
    remainders = {
        key.removeprefix(REMAINDER): value
        for key, value in metadata.items()
        if key.startswith(REMAINDER) and isinstance(value, array) and value.typecode == "f"
    }
    return Record(config, dtype, others, metadata.get(BARE) is True, remainders)


def write_remainder(key: str, remainder: Tensor) -> dict[str, Value]:
    """The key for what adding one to a tensor lost; nothing where nothing is lost."""
    if not bool(remainder.any()):
        return {}
    numbers = array("f")
    numbers.frombytes(remainder.contiguous().numpy().tobytes())
    return {key: Value("array[float32]", numbers)}


def located(error: ModelError, where: str) -> ModelError:
    """The error of a config that stands in the file `where`."""
    place = f"{where}: {error.where}" if error.where else where
    return type(error)(error.what, where=place, fix=error.fix)


def _text(value: Any, key: str, where: str) -> str:
    if not isinstance(value, str):
        raise WorkError(f"{key}: expected a text", where=where)
    return value.encode("utf-8", "replace").decode()
