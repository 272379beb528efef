"""Models that carry a state from token to token."""

from __future__ import annotations

from typing import Any

from tests.models.case import Case

_TASKS = ("causal-lm", "embedding")
_MAMBA = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "state_size": 8,
    "initializer_range": 0.2,
}


def _mamba(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    settings = _MAMBA | changes
    return _recurrent(f"mamba-{name}", "MambaConfig", settings, tasks, "cache_params")


def _mamba2(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    settings = _MAMBA | {"num_heads": 4, "head_dim": 16, "n_groups": 2, "chunk_size": 256} | changes
    return _recurrent(f"mamba2-{name}", "Mamba2Config", settings, tasks, "cache_params")


def _rwkv(name: str, tasks: tuple[str, ...] = ("causal-lm",), **changes: Any) -> Case:
    settings = {
        "vocab_size": 61,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "context_length": 32,
    } | changes
    return _recurrent(f"rwkv-{name}", "RwkvConfig", settings, tasks, "state")


def _recurrent(
    name: str, config: str, settings: dict[str, Any], tasks: tuple[str, ...], carries: str
) -> Case:
    # Decoding single tokens, theirs forget the limits of a step (Mamba 2), and give a wrong shape
    # for more than one row (RWKV).
    wrong = "time_step_limit" in settings or carries == "state"
    return Case(
        name,
        config,
        settings,
        tasks,
        attention="eager",
        attends=False,
        carries=carries,
        their_cache=not wrong,
        records_inputs=False,
    )


CASES = [
    _mamba("plain", _TASKS),
    _mamba("untied", tie_word_embeddings=False, use_bias=True, use_conv_bias=False),
    _mamba("wide", expand=3, conv_kernel=3, time_step_rank=5, hidden_act="gelu"),
    _mamba("narrow-residual", residual_in_fp32=False),
    _mamba2("plain", _TASKS),
    _mamba2("chunks", chunk_size=5, n_groups=1, use_bias=True),
    _mamba2("limited-steps", time_step_limit=[0.3, 0.9], use_conv_bias=False, conv_kernel=2),
    _mamba2("tied", tie_word_embeddings=True, n_groups=4),
    _rwkv("plain", _TASKS),
    _rwkv("narrow", attention_hidden_size=32, intermediate_size=48),
    _rwkv("not-rescaled", rescale_every=0),
]
