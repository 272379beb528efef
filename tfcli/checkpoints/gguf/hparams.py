"""config.json and the hyperparameters of a GGUF file, both ways.

Keys are llama.cpp's, below the architecture's name: gguf-py's constants.py, and what
`set_gguf_parameters` of its conversion scripts writes for each architecture.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.limits import LAYERS_27B, PATTERNS
from tfcli.checkpoints.gguf.positions import read_positions, shortest, write_positions
from tfcli.checkpoints.gguf.rules import BY_MODEL_TYPE, DIALECTS, GGUFDialect
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError, hint

if TYPE_CHECKING:
    from tfcli.models.configs.text import TextConfig


@dataclass(frozen=True)
class Key:
    """A config's field and a GGUF key.

    Args:
        field: the config's field, as its dataclass names it.
        name: the key, without the architecture.
        kind: the value's GGUF type.
        default: what holds in llama.cpp where the key is missing; REQUIRED: nothing does.
    """

    field: str
    name: str
    kind: str = "uint32"
    default: Any = None


REQUIRED = "required"
POOLING, CAUSAL, PATTERN = "pooling_type", "attention.causal", "attention.sliding_window_pattern"


_SIZES = (
    Key("num_hidden_layers", "block_count", default=REQUIRED),
    Key("max_position_embeddings", "context_length", default=REQUIRED),
    Key("hidden_size", "embedding_length", default=REQUIRED),
    Key("intermediate_size", "feed_forward_length", default=REQUIRED),
    Key("num_attention_heads", "attention.head_count", default=REQUIRED),
)
_GROUPS = Key("num_key_value_heads", "attention.head_count_kv")
_RMS = Key("rms_norm_eps", "attention.layer_norm_rms_epsilon", "float32", REQUIRED)


def _epsilon(field: str) -> Key:
    return Key(field, "attention.layer_norm_epsilon", "float32", REQUIRED)


_WIDTHS = (
    Key("head_dim", "attention.key_length"),
    Key("head_dim", "attention.value_length"),
)
_WINDOW = Key("sliding_window", "attention.sliding_window")
_EXPERTS = (
    Key("num_experts", "expert_count", default=REQUIRED),
    Key("num_experts_per_tok", "expert_used_count", default=REQUIRED),
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
    "gpt2": (*_SIZES, _epsilon("layer_norm_epsilon")),
    "gpt_neox": (
        *_SIZES,
        _epsilon("layer_norm_eps"),
        Key("use_parallel_residual", "use_parallel_residual", "bool", True),
    ),
    "starcoder2": (
        *_SIZES,
        _GROUPS,
        _epsilon("norm_epsilon"),
        _WINDOW,
    ),
    "bert": (*_SIZES, _epsilon("layer_norm_eps")),
}
# What llama.cpp computes and no key says, where the config's default is another.
_FIXED: dict[str, dict[str, Any]] = {
    "qwen3_moe": {"norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []},
}
# What llama.cpp takes where the key is missing.
_MISSING = {
    ("gemma2", "sliding_window"): 4096,
    ("gemma2", "attn_logit_softcapping"): 50.0,
    ("gemma2", "final_logit_softcapping"): 30.0,
}
# Fields under which `feed_forward_length` and others come back, where a property has the name.
_READ_AS = {("gpt2", "intermediate_size"): "n_inner"}


def write_hparams(config: TextConfig, dialect: GGUFDialect) -> dict[str, Value]:
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


def find_dialect(metadata: Mapping[str, Any], where: str) -> GGUFDialect:
    """The dialect of a GGUF file.

    The architecture `llama` serves three model types: with experts it is mixtral, with a window
    mistral, else llama.

    Raises:
        WorkError: no model, no architecture, or one that is not covered.
    """
    kind = metadata.get("general.type", "model")
    if kind != "model":
        raise WorkError(
            f"general.type is {short(str(kind))}: the file holds no model",
            where=where,
            fix="name the model's own file",
        )
    arch = metadata.get("general.architecture")
    if not isinstance(arch, str):
        raise WorkError("general.architecture: expected a text", where=where)
    if arch == "llama":
        if metadata.get("llama.expert_count"):
            return BY_MODEL_TYPE["mixtral"]
        windowed = metadata.get("llama.attention.sliding_window")
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
    dialect: GGUFDialect,
    *,
    where: str,
    tables: Callable[[str], list[float] | None],
    vocab_size: int,
) -> dict[str, Any]:
    """The content of config.json that a GGUF file's keys say.

    What a missing key leaves open is what llama.cpp takes then, never the config's own default.

    Args:
        metadata: the file's.
        dialect: the model type's.
        where: the file, for errors.
        tables: gives the values of one of the rotary tensors, or None.
        vocab_size: rows of the embedding.

    Raises:
        WorkError: a key that is missing, has no number, or contradicts another.
    """
    arch, model_type = dialect.arch, dialect.model_type
    found: dict[str, Any] = {"model_type": model_type, "vocab_size": vocab_size}
    found |= _FIXED.get(model_type, {})
    for key in KEYS[model_type]:
        place = f"{arch}.{key.name}"
        field = _READ_AS.get((model_type, key.field), key.field)
        value = _number(metadata.get(place, key.default), key, place, where)
        if found.get(field) is not None and value not in (None, found[field]):
            raise WorkError(f"{place} is {value}, not {found[field]}", where=where)
        if value is not None:
            found[field] = value
    _fill(found, model_type)
    _sights(metadata, dialect, found, where)
    if model_type in LAYERS_27B:
        large = found["num_hidden_layers"] == LAYERS_27B[model_type]
        heads = max(found["num_attention_heads"], 1)
        found["query_pre_attn_scalar"] = (
            found["hidden_size"] // heads if large else found["head_dim"]
        )
    if model_type == "bert":
        count = metadata.get("tokenizer.ggml.token_type_count")
        found["type_vocab_size"] = count if isinstance(count, int) else 2
    found |= read_positions(metadata, dialect, found, where, tables)
    return found


def _number(value: Any, key: Key, place: str, where: str) -> Any:
    """A key's value; of one for each layer the one that all have.

    Raises:
        WorkError: it is missing though llama.cpp needs it, differs between layers, or is no number.
    """
    if value == REQUIRED:
        raise WorkError(f"{place} is missing", where=where)
    if isinstance(value, (array, list)) and len(value) and all(each == value[0] for each in value):
        value = value[0]
    if value is None:
        return None
    if not isinstance(value, bool if key.kind == "bool" else (int, float)):
        raise WorkError(f"{place}: expected one number for all layers", where=where)
    if isinstance(value, float) and not isfinite(value):
        raise WorkError(f"{place}: {value} is no number", where=where)
    return shortest(value) if key.kind == "float32" else value


def _fill(found: dict[str, Any], model_type: str) -> None:
    """What llama.cpp takes where a key is missing, or 0 as the word for none."""
    fields = {key.field for key in KEYS[model_type]}
    if "num_key_value_heads" in fields:
        found.setdefault("num_key_value_heads", found["num_attention_heads"])
    if "head_dim" in fields:
        heads = max(found["num_attention_heads"], 1)
        found.setdefault("head_dim", found["hidden_size"] // heads)
    if "moe_intermediate_size" in fields and not found.get("moe_intermediate_size"):
        used = max(found["num_experts_per_tok"], 1)
        found["moe_intermediate_size"] = found["intermediate_size"] // used
    for field in ("sliding_window", "attn_logit_softcapping", "final_logit_softcapping"):
        if field in fields:
            found[field] = found.get(field, _MISSING.get((model_type, field))) or None


def _sights(
    metadata: Mapping[str, Any], dialect: GGUFDialect, found: dict[str, Any], where: str
) -> None:
    """Which positions a layer sees: all earlier ones, those in a window, or all.

    Raises:
        WorkError: the family looks the other way.
    """
    key = f"{dialect.arch}.{CAUSAL}"
    causal = metadata.get(key, dialect.model_type != "bert")
    if causal != (dialect.model_type != "bert"):
        raise WorkError(f"{key} is {causal}, which {dialect.model_type} is not", where=where)
    if dialect.model_type not in PATTERNS:
        return
    layers = found["num_hidden_layers"]
    pattern = metadata.get(f"{dialect.arch}.{PATTERN}", PATTERNS[dialect.model_type])
    if isinstance(pattern, int) and pattern >= 0:
        slides = [not pattern or (layer + 1) % pattern != 0 for layer in range(min(layers, 10**4))]
    else:
        slides = [bool(each) for each in pattern] if isinstance(pattern, (array, list)) else []
    if len(slides) != layers:
        raise WorkError(f"{dialect.arch}.{PATTERN}: expected {layers} truths", where=where)
    windowed = found["sliding_window"] is not None
    found["layer_types"] = [
        "sliding_attention" if windowed and each else "full_attention" for each in slides
    ]
    if not windowed:
        found.pop("sliding_window")
