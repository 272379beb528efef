"""ESM's config (transformers: EsmConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.bert import EncoderConfig

_POSITIONS = ("absolute", "rotary")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EsmConfig(EncoderConfig):
    """ESM-1b and ESM-2, without the part that folds.

    Args:
        position_embedding_type: `absolute` (learned) or `rotary`.
        rope_theta: base of rotary positions.
        emb_layer_norm_before: embeddings are normalised.
        token_dropout: masked words are zeros, and the others are scaled by how many are masked.
        mask_token_id: the word that masks others.
    """

    model_type: ClassVar[str] = "esm"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "is_decoder": (False, None),
        "add_cross_attention": (False, None),
        "is_folding_model": (False, None),
        "classifier_dropout": (None,),
    }

    vocab_size: int = 33
    max_position_embeddings: int = 1026
    rope_theta: float = 10000.0
    layer_norm_eps: float = 1e-12
    position_embedding_type: str = "absolute"
    emb_layer_norm_before: bool | None = None
    token_dropout: bool = False
    mask_token_id: int | None = None
    pad_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    @property
    def rotary(self) -> bool:
        """Positions are rotary, else learned."""
        return self.position_embedding_type == "rotary"

    @property
    def longest_input(self) -> int:
        begin = 0 if self.rotary else (self.pad_token_id or 0) + 1
        return self.max_position_embeddings - begin

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        act = data.pop("hidden_act", "gelu")
        require(act == "gelu", "hidden_act", f"is {act!r}; ESM always has gelu")
        return data

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        del out["hidden_act"]  # no key of this family
        return out

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        return tuple(sorted({*super().keys()} - {"hidden_act", "classifier_dropout"}))

    def check(self) -> None:
        super().check()
        kind = self.position_embedding_type
        known = f"is {kind!r}; built are {', '.join(_POSITIONS)}"
        require(kind in _POSITIONS, "position_embedding_type", known)
        if self.rotary:
            require(self.head_dim % 2 == 0, "hidden_size", "gives heads of an odd width to rotate")
            require(self.rope_theta > 0, "rope_theta", "must be above 0")
        else:
            require(self.pad_token_id is not None, "pad_token_id", "is needed: positions follow it")
            require(self.longest_input >= 1, "max_position_embeddings", "leaves no positions")
        masks = self.mask_token_id is not None or not self.token_dropout
        require(masks, "mask_token_id", "is needed for token_dropout")
