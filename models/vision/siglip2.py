"""SigLIP 2's tower for images (Tschannen et al. 2025): patches of images of any shape.

Reference: transformers `modeling_siglip2.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tfcli.models.configs.siglip2 import Siglip2VisionConfig
from tfcli.models.errors import ModelError
from tfcli.models.layers.embeddings import Embedding
from tfcli.models.layers.linear import linear
from tfcli.models.layers.patches import image_or_embeds, positions_of_shapes
from tfcli.models.vision.siglip import SiglipVisionTower


class Siglip2VisionEmbeddings(nn.Module):
    """A linear on the pixels of patches that are cut already, and positions for each image."""

    def __init__(self, config: Siglip2VisionConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.pixels = config.num_channels * config.patch_size**2
        self.patch_embedding = linear(self.pixels, size, bias=True)
        self.position_embedding = Embedding(config.num_patches, size)

    def forward(self, pixel_values: torch.Tensor, spatial_shapes: torch.Tensor) -> torch.Tensor:
        """Embed patches.

        Args:
            pixel_values (Tensor): [b, n, patch * patch * c], row by row, with padding after them.
            spatial_shapes (Tensor): [b, 2], each image's rows and columns of patches.

        Returns:
            [b, n, d]

        Raises:
            ModelError: other shapes, or more patches than there are.
        """
        if pixel_values.ndim != 3 or pixel_values.shape[-1] != self.pixels:
            raise ModelError(
                f"pixel_values has shape {tuple(pixel_values.shape)}, expected [images, patches, "
                f"{self.pixels}]: patches that were cut, of {self.pixels} numbers each",
                where="pixel_values",
                fix="prepare images with the model's own image processor",
            )
        images, patches = pixel_values.shape[:2]
        if spatial_shapes.shape != (images, 2):
            raise ModelError(
                f"spatial_shapes has shape {tuple(spatial_shapes.shape)}, expected {(images, 2)}",
                where="spatial_shapes",
            )
        check_shapes(spatial_shapes, patches)
        table = self.position_embedding.weight
        placed = positions_of_shapes(table, spatial_shapes, patches)
        return self.patch_embedding(pixel_values.to(table.dtype)) + placed


def check_shapes(spatial_shapes: torch.Tensor, patches: int) -> None:
    """Refuse images of no patches, or of more than there are.

    Args:
        spatial_shapes (Tensor): [b, 2]
        patches: of a row, padding counted.

    Raises:
        ModelError: names both numbers.
    """
    # Looking waits for the device, so it is done where that costs nothing.
    if torch.compiler.is_compiling() or spatial_shapes.device.type != "cpu":
        return
    for height, width in spatial_shapes.tolist():
        if height < 1 or width < 1 or height * width > patches:
            raise ModelError(
                f"spatial_shapes has an image of {height} x {width} patches, but pixel_values "
                f"holds {patches} an image",
                where="spatial_shapes",
            )


class Siglip2VisionModel(SiglipVisionTower[Siglip2VisionConfig]):
    """See `SiglipVisionTower`. Images come as patches with `spatial_shapes`, and a mask."""

    inputs = ("pixel_attention_mask", "spatial_shapes")

    def make_embeddings(self) -> nn.Module:
        return Siglip2VisionEmbeddings(self.config)

    def embed(
        self,
        *,
        pixel_values: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        spatial_shapes: torch.Tensor | None = None,
        **inputs: Any,
    ) -> torch.Tensor:
        """Embed patches; see `Siglip2VisionEmbeddings`."""
        x = image_or_embeds(pixel_values, inputs_embeds)
        if x is inputs_embeds:
            return x
        if spatial_shapes is None:
            raise ModelError("pixel_values of patches need spatial_shapes, which say how they lie")
        return self.embeddings(x, spatial_shapes)

    def mask_of(
        self, attention_mask: torch.Tensor | None, inputs: Mapping[str, Any], x: torch.Tensor
    ) -> torch.Tensor | None:
        return inputs.get("pixel_attention_mask", attention_mask)

    def pooler_output(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor | None:
        if not self.config.vision_use_head:
            return None
        return self.head(x, inputs.get("pixel_attention_mask"))

    def summary(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The mean of the states of patches that are no padding: [b, d]"""
        mask = inputs.get("pixel_attention_mask")
        if mask is None:
            return x.mean(1)
        return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
