"""Granite 4's config (transformers: GraniteMoeHybridConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.experts import BalancedConfig
from tfcli.models.configs.granite import GraniteFactors
from tfcli.models.configs.hybrid import LINEAR, HybridConfig, Mamba2LayersConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraniteMoeHybridConfig(BalancedConfig, GraniteFactors, Mamba2LayersConfig, HybridConfig):
    """Granite 4. Every layer has a dense mlp, and experts beside it unless there are 0."""

    model_type: ClassVar[str] = "granitemoehybrid"
    aliases: ClassVar[dict[str, str]] = {"num_local_experts": "num_experts"}

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    attention_bias: bool = False
    num_experts: int = 8
    num_experts_per_tok: int = 2
    shared_intermediate_size: int = 1024
    position_embedding_type: str | None = None
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    @property
    def rotates(self) -> bool:
        """Whether attention has positions; the state spaces know the order without."""
        return self.position_embedding_type == "rope"

    @property
    def has_experts(self) -> bool:
        return self.num_experts != 0

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        if "layers_block_type" in data:
            data["layer_types"] = data.pop("layers_block_type")
        return super().read_keys(data)

    def default_kind(self, layer: int) -> str:
        return LINEAR

    def check(self) -> None:
        super().check()
        self.check_sizes("shared_intermediate_size")
        require(
            self.position_embedding_type in (None, "rope", "nope"),
            "position_embedding_type",
            f"is {self.position_embedding_type!r}; built are rope and nope",
        )
