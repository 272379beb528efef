"""What the configs of models that look at images share."""

from __future__ import annotations

import dataclasses

from tfcli.models.config import BaseConfig, require, require_activation, require_divides


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchConfig(BaseConfig):
    """Transformers over the patches of images of any size."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    patch_size: int = 16
    num_channels: int = 3

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    def check(self) -> None:
        super().check()
        self.check_sizes(
            "hidden_size",
            "num_attention_heads",
            "intermediate_size",
            "patch_size",
            "num_channels",
        )
        self.check_layers()
        require_divides(
            self.num_attention_heads, self.hidden_size, "num_attention_heads", "hidden_size"
        )
        require_activation(self.hidden_act, self.spelling("hidden_act"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisionConfig(PatchConfig):
    """Transformers over the patches of an image (Dosovitskiy et al. 2020)."""

    image_size: int = 224

    @property
    def num_patches(self) -> int:
        """Patches of an image of `image_size`."""
        return (self.image_size // self.patch_size) ** 2

    def check(self) -> None:
        super().check()
        self.check_sizes("image_size")
        require(
            self.patch_size <= self.image_size,
            "patch_size",
            f"is {self.patch_size}, but an image has {self.image_size} pixels a side",
        )
