"""The config of GLM (Du et al. 2022), as FlagAI and the first GLM checkpoints write it."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_divides
from tfcli.models.configs.text import TextConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class GLMConfig(TextConfig):
    """GLM with two position tables. FlagAI's config.json has no model_type; see tfcli/flagai."""

    model_type: ClassVar[str] = "glm"
    aliases: ClassVar[dict[str, str]] = {
        "num_layers": "num_hidden_layers",
        "max_sequence_length": "max_position_embeddings",
    }
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "relative_encoding": (False, None),
        "performer": (False, None),
        "use_decoder_layer": (False, None),
        "spell_length": (None,),
        "tune_prefix_layers": (None,),
        "max_memory_length": (0, None),
        # Keys of the later model that transformers calls glm: rotary, not two tables.
        "partial_rotary_factor": (None,),
        "rope_parameters": (None,),
        "num_key_value_heads": (None,),
    }

    vocab_size: int = 50048
    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    max_position_embeddings: int = 512
    embedding_dropout_prob: float = 0.1
    attention_dropout_prob: float = 0.1
    output_dropout_prob: float = 0.1
    layernorm_epsilon: float = 1e-5
    attention_scale: float = 1.0
    block_position_encoding: bool = True
    pool_token: str = "cls"

    @property
    def intermediate_size(self) -> int:
        """Width of the mlp."""
        return 4 * self.hidden_size

    @property
    def positions(self) -> int:
        """Rows of the position table."""
        return self.max_position_embeddings + int(self.block_position_encoding)

    @property
    def head_dropout(self) -> float:
        dropout = self.classifier_dropout
        return self.output_dropout_prob if dropout is None else dropout

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        count = data.pop("class_num", None)
        if count is not None and not data.get("id2label"):
            require(isinstance(count, int) and count >= 1, "class_num", "must be at least 1")
            data["id2label"] = {str(i): f"LABEL_{i}" for i in range(count)}
            data["label2id"] = {f"LABEL_{i}": i for i in range(count)}
        return data

    def check(self) -> None:
        super().check()
        require_divides(
            self.num_attention_heads, self.hidden_size, "num_attention_heads", "hidden_size"
        )
        for key in ("embedding_dropout_prob", "attention_dropout_prob", "output_dropout_prob"):
            require(0 <= getattr(self, key) < 1, key, "must be in [0, 1)")
        require(self.attention_scale >= 1, "attention_scale", "must be at least 1")
        pools = ("cls", "start", "pad")
        require(self.pool_token in pools, "pool_token", f"must be one of {', '.join(pools)}")
