"""LLaVA-NeXT (Liu et al. 2024): LLaVA on images of any resolution, as a whole and in tiles.

Reference: transformers `modeling_llava_next.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tfcli.models.configs.llava_next import LlavaNextConfig
from tfcli.models.errors import ModelError
from tfcli.models.multimodal.anyres import image_size_to_num_patches, pack_image_features
from tfcli.models.multimodal.llava import LlavaModel


class LlavaNextModel(LlavaModel):
    """LLaVA's body, and a vector that ends each row of an image."""

    inputs = (*LlavaModel.inputs, "image_sizes")
    config: LlavaNextConfig

    def __init__(self, config: LlavaNextConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.image_newline = nn.Parameter(torch.empty(config.text_config.hidden_size))
        left = self.vision_tower.leading - self.first
        if left != 0:
            raise ModelError(
                f"vision_feature_select_strategy {config.vision_feature_select_strategy!r} takes "
                f"{self.first} of a tile's states away, but {config.vision_config.model_type} has "
                f"{self.vision_tower.leading} before those of its patches",
                where="config.json, key vision_feature_select_strategy",
                fix="'default' fits towers with a class token, 'full' those without",
            )

    def features(self, inputs: Mapping[str, Any], medium: str) -> torch.Tensor:
        """All images' features, one after the other: [n, d]

        Args:
            inputs: `pixel_values` [images, tiles, c, h, w], where the tiles of images with fewer
                are filled up, or those of all images in a row [tiles, c, h, w]; `image_sizes`
                [images, 2], which are read: left in the host's memory, nothing waits for them.
            medium: image.
        """
        config, pixels, sizes = self.config, inputs["pixel_values"], inputs.get("image_sizes")
        if sizes is None:
            raise ModelError("pixel_values go with image_sizes, which say how images were cut")
        sizes = sizes.tolist() if isinstance(sizes, torch.Tensor) else list(sizes)
        side = config.vision_config.image_size
        counts = [
            image_size_to_num_patches(size, config.image_grid_pinpoints, side) for size in sizes
        ]
        if pixels.ndim == 5:
            if len(pixels) != len(counts) or pixels.shape[1] < max(counts):
                raise ModelError(
                    f"pixel_values has {len(pixels)} images of {pixels.shape[1]} tiles, but "
                    f"image_sizes says {len(counts)} of up to {max(counts)}",
                    where="pixel_values",
                )
            pixels = torch.cat([each[:n] for each, n in zip(pixels, counts, strict=True)])
        if len(pixels) != sum(counts):
            raise ModelError(
                f"pixel_values has {len(pixels)} tiles, but image_sizes says {sum(counts)}",
                where="pixel_values",
            )
        packed, _ = pack_image_features(
            self.projected(pixels).split(counts),
            sizes,
            self.image_newline,
            grid_pinpoints=config.image_grid_pinpoints,
            image_size=side,
            patch_size=config.vision_config.patch_size,
        )
        return torch.cat(packed)

    def drawn(self, name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor | None:
        if name != "image_newline":
            return None
        std = self.config.text_config.hidden_size**-0.5
        return torch.empty(shape).normal_(0.0, std, generator=random)
