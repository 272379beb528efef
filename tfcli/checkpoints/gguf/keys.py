"""What each key below an architecture's name means here: read, without effect, or refused.

Every key of llama.cpp's table (gguf-py's `constants.Keys`) is one of three: a field of the config
(`hparams.KEYS`, `positions`), a key that changes no number, or a setting that these families do not
have, which is refused unless its value is the one that changes nothing. A key that is in no table
is passed over, as llama.cpp does, and told; one that by its name belongs to positions, attention or
experts is refused.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Callable, Mapping
from typing import Any

from tfcli.checkpoints.gguf.hparams import CAUSAL, KEYS, PATTERN, POOLING
from tfcli.checkpoints.gguf.limits import PATTERNS
from tfcli.checkpoints.gguf.positions import read_keys as position_keys
from tfcli.checkpoints.gguf.rules import GGUFDialect
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

HARMLESS = {
    "vocab_size": "the rows of the embedding are counted",
    "tensor_data_layout": "says how the rows of all files of the architecture are ordered",
    "decoder_start_token_id": "belongs to models with an encoder",
    "rope.scaling.finetuned": "is shown by llama.cpp and computed with by nothing",
}
"""Key -> why it changes no number."""

Allowed = Callable[[Any, Mapping[str, Any]], bool]


def _elements(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, array)) else [value]


def _only(*values: float) -> Allowed:
    def allowed(value: Any, config: Mapping[str, Any]) -> bool:
        return all(each in values for each in _elements(value))

    return allowed


def _like(field: str) -> Allowed:
    """The value of a field of the config, or none at all."""

    def allowed(value: Any, config: Mapping[str, Any]) -> bool:
        return all(each in (0, config[field]) for each in _elements(value))

    return allowed


def _head(value: Any, config: Mapping[str, Any]) -> bool:
    return all(each == config["head_dim"] for each in _elements(value))


def _with_experts(allowed: Allowed) -> Allowed:
    """A setting that says nothing where there are no experts."""
    return lambda value, config: not config["experts"] or allowed(value, config)


def _usual_scale(value: Any, config: Mapping[str, Any]) -> bool:
    return value == 0 or math.isclose(value, config["scale"], rel_tol=1e-6)


def _long_window(value: Any, config: Mapping[str, Any]) -> bool:
    """A window that no text outgrows."""
    return all(each == 0 or each >= config["length"] for each in _elements(value))


def _extrapolation(value: Any, config: Mapping[str, Any]) -> bool:
    return bool(value < 0 or value == (1 if config["rope_type"] == "yarn" else 0))


_OFF = _only(0)
_ONCE = _only(0, 1)  # a factor that llama.cpp takes for absent at 0
_NEUTRAL: dict[str, Allowed] = {
    "embedding_length_out": _like("hidden_size"),
    "use_parallel_residual": _OFF,
    "expert_count": _OFF,
    "expert_used_count": _with_experts(_OFF),
    "expert_feed_forward_length": _with_experts(_like("intermediate_size")),
    "expert_weights_norm": _with_experts(_only(1)),
    "expert_weights_scale": _ONCE,
    "expert_gating_func": _with_experts(_ONCE),  # 1: softmax
    "expert_group_count": _ONCE,
    "expert_group_used_count": _ONCE,
    "interleave_moe_layer_step": _ONCE,
    "moe_every_n_layers": _ONCE,
    "full_attention_interval": _ONCE,
    "logit_scale": _ONCE,
    "residual_scale": _ONCE,
    "embedding_scale": _ONCE,
    "attn_logit_softcapping": _OFF,
    "final_logit_softcapping": _OFF,
    "attention.key_length": _head,
    "attention.value_length": _head,
    "attention.key_length_swa": _head,
    "attention.value_length_swa": _head,
    "attention.head_count_kv": _like("num_attention_heads"),
    "attention.layer_norm_epsilon": lambda value, config: True,  # of norms that the family lacks
    "attention.layer_norm_rms_epsilon": lambda value, config: True,
    "attention.sliding_window": _long_window,
    "attention.scale": _usual_scale,
    "attention.output_scale": _ONCE,
    "rope.freq_base_swa": _like("rope_theta"),
    "rope.dimension_count_swa": _like("rotated"),
    "rope.scaling.yarn_ext_factor": _extrapolation,
    "rope.scaling.yarn_attn_factor": lambda value, config: value < 0 or value == 1,
}
_ABSENT = (
    r"features_length|leading_dense_block_count|expert_shared_feed_forward_length"
    r"|expert_chunk_feed_forward_length|expert_shared_count|expert_group_scale|experts_per_group"
    r"|moe_latent_size|nextn_predict_layers|n_deepstack_layers|decoder_block_count"
    r"|router_logit_softcapping|swin_norm|rescale_every_n_layers|time_mix_extra_dim"
    r"|time_decay_extra_dim|token_shift_count|activation_sparsity_scale|altup\..*"
    r"|embedding_length_per_layer_input|swiglu_clamp_s?h?exp|dense_\d_feat_(in|out)"
    r"|\{dense\}_feat_(in|out)"
    r"|attention\.(max_alibi_bias|clamp_kqv|group_norm_epsilon|group_norm_groups|.*_lora_rank"
    r"|relative_buckets_count|temperature_length|temperature_scale|key_length_mla|value_length_mla"
    r"|shared_kv_layers|sliding_window_pattern|indexer\..*)"
    r"|rope\.(dimension_sections|scaling\.(alpha|yarn_log_multiplier))"
    r"|(ssm|kda|wkv|posnet|convnext|classifier|shortconv)\..*"
)
"""Settings of other families: nothing but 0 is passed over."""
_NUMBERS = re.compile(r"(rope|attention|expert)")


def is_followed(name: str, dialect: GGUFDialect) -> bool:
    """Whether a key, without the architecture, becomes a part of the config."""
    own = {key.name for key in KEYS[dialect.model_type]} | position_keys(dialect.model_type)
    own |= {PATTERN} if dialect.model_type in PATTERNS else set()
    return name in own | {POOLING, CAUSAL}


def rule_of(name: str) -> Allowed | None:
    """Which values of a key that is not followed change nothing; None: it is in no table."""
    if name in HARMLESS:
        return lambda value, config: True
    return _NEUTRAL.get(name) or (_OFF if re.fullmatch(_ABSENT, name) else None)


def check_keys(
    metadata: Mapping[str, Any], dialect: GGUFDialect, config: Mapping[str, Any], where: str
) -> dict[str, str]:
    """Refuse what changes numbers and is not in the config that was made of a file's keys.

    Args:
        metadata: the file's.
        dialect: of its model type.
        config: what `read_hparams` made of them.
        where: the file, for errors.

    Returns:
        The keys that were passed over -> why, for the user.

    Raises:
        WorkError: names the key.
    """
    sizes = _sizes(config)
    passed = {}
    for key, value in metadata.items():
        arch, dot, name = key.partition(".")
        if not dot or arch != dialect.arch or is_followed(name, dialect):
            continue
        allowed = rule_of(name)
        if allowed is None and not _NUMBERS.match(name):
            passed[key] = "is no key of llama.cpp's, and is passed over"
        elif allowed is None or not _holds(allowed, value, sizes):
            raise WorkError(
                f"{short(key)} is {short(str(value))}: the {dialect.model_type} models here have "
                "no such setting, and without it the answers would be others",
                where=where,
                fix="keep the model in this file; if llama.cpp passes over the key, remove it",
            )
    return passed


def _holds(allowed: Allowed, value: Any, sizes: Mapping[str, Any]) -> bool:
    try:
        return allowed(value, sizes)
    except TypeError:  # a text where a number was expected
        return False


def _sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    heads = max(config["num_attention_heads"], 1)
    head = config.get("head_dim") or config["hidden_size"] // heads
    scalar = config.get("query_pre_attn_scalar", head)
    rope = config.get("rope_parameters") or {}
    rope = rope.get("full_attention", rope)
    return {
        "hidden_size": config["hidden_size"],
        "intermediate_size": config.get("intermediate_size", config.get("n_inner")),
        "num_attention_heads": config["num_attention_heads"],
        "head_dim": head,
        "length": config["max_position_embeddings"],
        "experts": config.get("num_experts", 0),
        "scale": 1 / math.sqrt(max(scalar, 1)),
        "rope_theta": rope.get("rope_theta"),
        "rope_type": rope.get("rope_type"),
        "rotated": int(head * rope.get("partial_rotary_factor", 1.0)),
    }
