"""Which model a GGUF file holds: its dialect, and the config.json that its keys say."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import partial
from typing import Any

from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.hparams import POOLING, find_dialect, read_hparams, write_hparams
from tfcli.checkpoints.gguf.keys import check_keys
from tfcli.checkpoints.gguf.own_keys import Record, located
from tfcli.checkpoints.gguf.rules import BY_MODEL_TYPE, OLDER, GGUFDialect
from tfcli.errors import ModelError, WorkError

_MAX_TABLE = 1 << 20  # bytes: there is a number for every second value of a head


def model_dialect(file: GGUFFile, record: Record, where: str) -> GGUFDialect:
    """The names and rules of the file's model type.

    Raises:
        WorkError: an architecture that is not covered.
    """
    found = find_dialect(file.metadata, where)
    named = BY_MODEL_TYPE.get(str((record.config or {}).get("model_type")))
    # `llama` serves several model types; a recorded config says which.
    found = named if named is not None and named.arch == found.arch else found
    older = OLDER.get(found.model_type)
    return older if older and all(mark in file.tensors for mark in older.marks) else found


def model_config(
    file: GGUFFile, dialect: GGUFDialect, record: Record, where: str
) -> tuple[dict[str, Any], Any, dict[str, str]]:
    """The content of config.json and the config: the recorded one where the keys agree with it.

    Returns:
        The two, and the keys that were passed over -> why.

    Raises:
        WorkError: a key that is missing, has no number, or is not followed.
        ModelError: a config that is not supported.
    """
    from tfcli.models.registry import read_config

    if record.config is not None:
        try:
            kept = read_config(record.config)
        except ModelError as error:
            raise located(error, where) from error
        if kept.model_type == dialect.model_type and _agrees(kept, dialect, file):
            return dict(record.config), kept, {}
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise WorkError("no tensor token_embd.weight with two dimensions", where=where)
    made = read_hparams(
        file.metadata,
        dialect,
        where=where,
        tables=partial(_table, file),
        vocab_size=embedding.shape[0],
    )
    passed = check_keys(file.metadata, dialect, made, where)
    made["tie_word_embeddings"] = dialect.head is None or "output.weight" not in file.tensors
    made |= _ids(file.metadata) | _biases(file, dialect)
    types = file.tensors.get("token_types.weight")
    if types is not None:
        made["type_vocab_size"] = types.shape[0] if types.shape else 0
    try:
        config = read_config(made)
    except ModelError as error:
        raise located(error, where) from error
    return {**config.to_dict(), "architectures": [_class_name(dialect)]}, config, passed


def _agrees(config: Any, dialect: GGUFDialect, file: GGUFFile) -> bool:
    def same(a: Any, b: Any) -> bool:
        if isinstance(a, float) and isinstance(b, float):
            return struct.pack("<f", a) == struct.pack("<f", b)
        return bool(a == b)

    expected = write_hparams(config, dialect)
    present = {key for key in file.metadata if key.startswith(f"{dialect.arch}.")}
    present.discard(f"{dialect.arch}.{POOLING}")
    arch_keys = {key for key in expected if key.startswith(f"{dialect.arch}.")}
    return present == arch_keys and all(
        same(expected[key].value, file.metadata[key]) for key in arch_keys
    )


def _table(file: GGUFFile, name: str) -> list[float] | None:
    """The values of a rotary table, read without torch where they are float32, as usual."""
    info = file.tensors.get(name)
    if info is None:
        return None
    if info.nbytes > _MAX_TABLE:
        raise WorkError(
            f"{name} has {info.nbytes} bytes, too many for a table", where=str(info.file)
        )
    if info.dtype == "F32":
        with file.tensor(name).file.reading() as reader:
            return list(struct.unpack(f"<{info.elements}f", reader.bytes(info.start, info.nbytes)))
    values: list[float] = file.dequantize(name).float().reshape(-1).tolist()
    return values


def _ids(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Special tokens; null where the file has none, for a config's own default may not fit."""
    names = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    return {key: metadata.get(f"tokenizer.ggml.{name}_token_id") for key, name in names.items()}


def _biases(file: GGUFFile, dialect: GGUFDialect) -> dict[str, bool]:
    if dialect.arch != "llama":
        return {}
    return {
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in file.tensors,
    }


def _class_name(dialect: GGUFDialect) -> str:
    from tfcli.models.registry import get_family

    family = get_family(dialect.model_type)
    return family.names["embedding" if dialect.head is None else "causal-lm"]
