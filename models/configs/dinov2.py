"""The configs of DINOv2 (transformers: Dinov2Config, Dinov2WithRegistersConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.feature_maps import FeatureMapConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dinov2Config(FeatureMapConfig):
    """DINOv2.

    Args:
        mlp_ratio: width of the mlp, of the states'.
        layerscale_value: what each block's parts are multiplied by at first.
        drop_path_rate: how likely a part of a block is left out for an image in training.
        use_swiglu_ffn: whether the mlp is gated.
        use_mask_token: whether there is a vector for hidden patches.
    """

    model_type: ClassVar[str] = "dinov2"

    mlp_ratio: int = 4
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    layer_norm_eps: float = 1e-6
    patch_size: int = 14
    qkv_bias: bool = True
    layerscale_value: float = 1.0
    drop_path_rate: float = 0.0
    use_swiglu_ffn: bool = False
    apply_layernorm: bool = True
    reshape_hidden_states: bool = True
    use_mask_token: bool = True

    @property
    def num_register_tokens(self) -> int:
        """Tokens between the first one and the patches."""
        return 0

    @property
    def smooths_positions(self) -> bool:
        """Whether a table of positions is smoothed while it is shrunk for a small image."""
        return False

    @property
    def inner_size(self) -> int:
        """Width of the mlp; of a gated one two thirds, rounded up to a multiple of 8."""
        inner = self.hidden_size * self.mlp_ratio
        return (int(inner * 2 / 3) + 7) // 8 * 8 if self.use_swiglu_ffn else inner

    def check(self) -> None:
        super().check()
        self.check_sizes("mlp_ratio")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate"):
            require(0 <= getattr(self, name) < 1, name, "must be in [0, 1)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dinov2WithRegistersConfig(Dinov2Config):
    """DINOv2 with registers (Darcet et al. 2023). `num_register_tokens` are before the patches."""

    model_type: ClassVar[str] = "dinov2_with_registers"

    patch_size: int = 16
    num_register_tokens: int = 4

    @property
    def smooths_positions(self) -> bool:
        return True

    def check(self) -> None:
        super().check()
        require(self.num_register_tokens >= 0, "num_register_tokens", "is negative")
        require(self.use_mask_token, "use_mask_token", "is false, but checkpoints have the token")
