"""Gemma's config (transformers: GemmaConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.rotary import RotaryConfig

_TANH = "gelu_pytorch_tanh"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GemmaConfig(RotaryConfig):
    """Gemma 1 and CodeGemma.

    Older files have `hidden_activation` beside `hidden_act`, and say gelu where the weights were
    trained with its tanh form. Both are read as transformers reads them; only `hidden_act` is
    written.
    """

    model_type: ClassVar[str] = "gemma"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        **RotaryConfig.fixed,
        "use_bidirectional_attention": (False, None),
    }
    names_head_dim: ClassVar[bool] = True

    vocab_size: int = 256000
    hidden_size: int = 3072
    intermediate_size: int = 24576
    num_hidden_layers: int = 28
    num_attention_heads: int = 16
    num_key_value_heads: int = 16
    head_dim: int = 256
    hidden_act: str = _TANH
    max_position_embeddings: int = 8192
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = True
    attention_bias: bool = False
    pad_token_id: int | None = 0
    bos_token_id: int | None = 2
    eos_token_id: int | list[int] | None = 1

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        given = [data.pop(key, None) for key in ("hidden_act", "hidden_activation")]
        names = [_TANH if name == "gelu" else name for name in given if name is not None]
        require(names[1:] in ([], names[:1]), "hidden_act", "and hidden_activation differ")
        data["hidden_act"] = names[0] if names else cls.hidden_act
        return super().read_keys(data)

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        return tuple(sorted({*super().keys(), "hidden_activation"}))
