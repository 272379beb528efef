"""config.json and the hyperparameters of a GGUF file, both ways.

Keys are llama.cpp's, below the architecture's name: gguf-py's constants.py, and what
`set_gguf_parameters` of its conversion scripts writes for each architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.limits import LAYERS_27B
from tfcli.checkpoints.gguf.names import BY_MODEL_TYPE, DIALECTS
from tfcli.checkpoints.gguf.positions import read_positions, shortest, write_positions
from tfcli.checkpoints.gguf.rules import Dialect
from tfcli.errors import WorkError, hint

if TYPE_CHECKING:
    from tfcli.models.config import ModelConfig


@dataclass(frozen=True)
class Key:
    """A config's field and a GGUF key.

    Args:
        field: the config's field, as its dataclass names it.
        name: the key, without the architecture.
        kind: the value's GGUF type.
        default: what holds in GGUF where the key is missing; None: the config's own default.
    """

    field: str
    name: str
    kind: str = "uint32"
    default: Any = None


_SIZES = (
    Key("num_hidden_layers", "block_count"),
    Key("max_position_embeddings", "context_length"),
    Key("hidden_size", "embedding_length"),
    Key("intermediate_size", "feed_forward_length"),
    Key("num_attention_heads", "attention.head_count"),
)
_GROUPS = Key("num_key_value_heads", "attention.head_count_kv")
_RMS = Key("rms_norm_eps", "attention.layer_norm_rms_epsilon", "float32")
_WIDTHS = (
    Key("head_dim", "attention.key_length"),
    Key("head_dim", "attention.value_length"),
)
_WINDOW = Key("sliding_window", "attention.sliding_window")
_EXPERTS = (
    Key("num_experts", "expert_count"),
    Key("num_experts_per_tok", "expert_used_count"),
)
_FINAL_CAP = Key("final_logit_softcapping", "final_logit_softcapping", "float32")
_DECODER = (*_SIZES, _GROUPS, _RMS, *_WIDTHS)

KEYS: dict[str, tuple[Key, ...]] = {
    "llama": _DECODER,
    "mistral": (*_DECODER, _WINDOW),
    "mixtral": (*_DECODER, *_EXPERTS, _WINDOW),
    "qwen2": _DECODER,
    "qwen3": _DECODER,
    "qwen3_moe": (
        *_DECODER,
        *_EXPERTS,
        Key("moe_intermediate_size", "expert_feed_forward_length"),
    ),
    "gemma": _DECODER,
    "gemma2": (
        *_DECODER,
        Key("attn_logit_softcapping", "attn_logit_softcapping", "float32"),
        _FINAL_CAP,
        _WINDOW,
    ),
    "gemma3_text": (*_DECODER, _FINAL_CAP, _WINDOW),
    "phi3": (*_SIZES, _GROUPS, _RMS, _WINDOW),
    "gpt2": (*_SIZES, Key("layer_norm_epsilon", "attention.layer_norm_epsilon", "float32")),
    "gpt_neox": (
        *_SIZES,
        Key("layer_norm_eps", "attention.layer_norm_epsilon", "float32"),
        Key("use_parallel_residual", "use_parallel_residual", "bool", True),
    ),
    "starcoder2": (
        *_SIZES,
        _GROUPS,
        Key("norm_epsilon", "attention.layer_norm_epsilon", "float32"),
        _WINDOW,
    ),
    "bert": (*_SIZES, Key("layer_norm_eps", "attention.layer_norm_epsilon", "float32")),
}
# What llama.cpp computes and no key says, where the config's default is another.
_FIXED: dict[str, dict[str, Any]] = {
    "qwen3_moe": {"norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []},
}
# Fields under which `feed_forward_length` and others come back, where a property has the name.
_READ_AS = {("gpt2", "intermediate_size"): "n_inner"}


def write_hparams(config: ModelConfig, dialect: Dialect) -> dict[str, Value]:
    """The GGUF keys of a config, without the tokenizer's."""
    arch = dialect.arch
    found = {"general.architecture": Value("string", arch)}
    for key in KEYS[dialect.model_type]:
        value = getattr(config, key.field)
        if value is not None:
            found[f"{arch}.{key.name}"] = Value(key.kind, value)
    if dialect.model_type == "phi3":
        # Without the key llama.cpp guesses a window; 0 says that there is none.
        found.setdefault(f"{arch}.attention.sliding_window", Value("uint32", 0))
    if dialect.model_type == "bert":
        found[f"{arch}.attention.causal"] = Value("bool", False)
    else:
        found[f"{arch}.vocab_size"] = Value("uint32", config.vocab_size)
    for name, value in write_positions(config, dialect.model_type).items():
        found[f"{arch}.{name}"] = value
    return found


def find_dialect(metadata: Mapping[str, Any], where: str) -> Dialect:
    """The dialect of a GGUF file.

    The architecture `llama` serves three model types: with experts it is mixtral, with a window
    mistral, else llama.

    Raises:
        WorkError: no architecture, or one that is not covered.
    """
    arch = metadata.get("general.architecture")
    if not isinstance(arch, str):
        raise WorkError("general.architecture: expected a text", where=where)
    if arch == "llama":
        if metadata.get("llama.expert_count"):
            return BY_MODEL_TYPE["mixtral"]
        windowed = "llama.attention.sliding_window" in metadata
        return BY_MODEL_TYPE["mistral" if windowed else "llama"]
    for dialect in DIALECTS:
        if dialect.arch == arch:
            return dialect
    known = sorted({dialect.arch for dialect in DIALECTS})
    raise WorkError(
        f"general.architecture: {arch[:40]!r} is not covered", where=where, fix=hint(arch, known)
    )


def read_hparams(
    metadata: Mapping[str, Any],
    dialect: Dialect,
    *,
    where: str,
    tables: Callable[[str], list[float] | None],
    vocab_size: int,
) -> dict[str, Any]:
    """The content of config.json that a GGUF file's keys say.

    Args:
        metadata: the file's.
        dialect: the model type's.
        where: the file, for errors.
        tables: gives the values of one of the rotary tensors, or None.
        vocab_size: rows of the embedding.

    Raises:
        WorkError: a key that is missing or has no number.
    """
    arch = dialect.arch
    found: dict[str, Any] = {"model_type": dialect.model_type, "vocab_size": vocab_size}
    found |= _FIXED.get(dialect.model_type, {})
    for key in KEYS[dialect.model_type]:
        value = metadata.get(f"{arch}.{key.name}", key.default)
        field = _READ_AS.get((dialect.model_type, key.field), key.field)
        if value is None:
            if key in _SIZES:
                raise WorkError(f"{arch}.{key.name} is missing", where=where)
            continue
        if not isinstance(value, bool if key.kind == "bool" else (int, float)):
            raise WorkError(f"{arch}.{key.name}: expected one number for all layers", where=where)
        if isinstance(value, float) and not isfinite(value):
            raise WorkError(f"{arch}.{key.name}: {value} is no number", where=where)
        found[field] = shortest(value) if key.kind == "float32" else value
    if dialect.model_type == "phi3" and not found.get("sliding_window"):
        found["sliding_window"] = None
    if dialect.model_type in LAYERS_27B:
        large = found["num_hidden_layers"] == LAYERS_27B[dialect.model_type]
        heads = max(found["num_attention_heads"], 1)
        head_dim = found.get("head_dim", found["hidden_size"] // heads)
        found["query_pre_attn_scalar"] = found["hidden_size"] // heads if large else head_dim
    if dialect.model_type == "bert":
        count = metadata.get("tokenizer.ggml.token_type_count")
        found["type_vocab_size"] = count if isinstance(count, int) else 2
    found |= read_positions(metadata, dialect, found, where, tables)
    return found
