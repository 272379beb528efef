"""Filling in the pixels of hidden patches (Xie et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tfcli.models.configs.vit import ViTConfig
from tfcli.models.errors import ModelError
from tfcli.models.layers.patches import Conv2d
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.models.vision.vit import ViTModel


class MaskedImageModeling(Model):
    """A linear from each patch's state to its pixels.

    The output has `reconstruction` [b, c, h, w]. `bool_masked_pos` [b, patches] says which patches
    are hidden; with it there is a loss, the mean distance of their pixels. There are no labels.
    """

    task = "masked-image-modeling"

    config: ViTConfig

    @property
    def body(self) -> ViTModel:
        body: ViTModel = getattr(self, self.base())
        return body

    def add_head(self) -> None:
        config, side = self.config, self.config.encoder_stride
        pixels = Conv2d(config.hidden_size, side * side * config.num_channels, 1)
        self.decoder = nn.Sequential(pixels, nn.PixelShuffle(side))
        self.body.add_mask_token()

    def finish(
        self,
        x: torch.Tensor,
        output: ModelOutput,
        inputs: Mapping[str, Any],
        labels: torch.Tensor | None,
        num_target_tokens: int | torch.Tensor | None,
    ) -> None:
        if labels is not None:
            raise ModelError("the pixels are the labels", fix="give bool_masked_pos alone")
        images, hidden = inputs.get("pixel_values"), inputs.get("bool_masked_pos")
        if images is None:
            raise ModelError("pixels can be filled in only where pixel_values are given")
        grid = self.body.embeddings.projection.grid(images)
        square = x[:, self.body.leading :].transpose(1, 2).unflatten(2, grid)
        output.reconstruction = self.decoder(square)
        if hidden is not None:
            output.loss = self.pixel_loss(images, output.reconstruction, hidden.view(-1, *grid))

    def pixel_loss(
        self, images: torch.Tensor, filled: torch.Tensor, hidden: torch.Tensor
    ) -> torch.Tensor:
        """How far the pixels of hidden patches are from what they were.

        Args:
            images (Tensor): [b, c, h, w]
            filled (Tensor): the same, as the model has it.
            hidden (Tensor): [b, rows, columns] of 0/1.

        Returns:
            []

        Raises:
            ModelError: the two are of unlike sizes.
        """
        patch, stride = self.config.patch_size, self.config.encoder_stride
        if images.shape != filled.shape:
            given, made = (" x ".join(map(str, each.shape[-2:])) for each in (images, filled))
            raise ModelError(
                f"images are {given} pixels, but from patches of {patch} (patch_size) those of "
                f"{made} are filled in, {stride} a patch (encoder_stride)",
                where="bool_masked_pos",
                fix="the sides must be multiples of patch_size, and encoder_stride equal to it",
            )
        mask = hidden.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[:, None]
        apart = (images - filled).abs() * mask
        return apart.sum() / (mask.sum() + 1e-5) / images.shape[1]
