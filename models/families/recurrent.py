"""Models that carry a state from token to token instead of keys and values."""

from __future__ import annotations

from tfcli.models.families.heads import DECODER_HEADS, NOT_FP16, family, only
from tfcli.models.family import Family

FAMILIES: tuple[Family, ...] = (
    family(
        "mamba",
        "Mamba",
        "recurrent",
        only(DECODER_HEADS, "causal-lm", "embedding"),
        config="mamba:MambaConfig",
        backbone="mamba:MambaModel",
        features=("selective state space",),
    ),
    family(
        "mamba2",
        "Mamba2",
        "recurrent",
        only(DECODER_HEADS, "causal-lm", "embedding"),
        config="mamba:Mamba2Config",
        backbone="mamba2:Mamba2Model",
        features=("state space with one decay a head",),
    ),
    family(
        "rwkv",
        "Rwkv",
        "recurrent",
        {"causal-lm": "tfcli.models.text.rwkv:RwkvCausalLM", **only(DECODER_HEADS, "embedding")},
        config="rwkv:RwkvConfig",
        backbone="rwkv:RwkvModel",
        features=("attention as a running average",),
        keep_fp32={r"time_(decay|first)$": NOT_FP16},
    ),
)
