"""States of some layers as images, for what is built on a vision transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tfcli.models.configs.feature_maps import FeatureMapConfig
from tfcli.models.errors import ModelError
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.models.vision.tower import VisionBackbone


class FeatureMaps(Model):
    """The backbone alone, with `feature_maps` in the output; see `FeatureMapConfig`.

    Each is [b, d, h / patch, w / patch], in the order of the stages.
    """

    task = "feature-maps"
    headless = True

    config: FeatureMapConfig

    @property
    def body(self) -> VisionBackbone[Any]:
        body: VisionBackbone[Any] = getattr(self, self.base())
        return body

    def run(self, inputs: Mapping[str, Any]) -> tuple[torch.Tensor, ModelOutput]:
        return super().run({**inputs, "output_hidden_states": True})

    def finish(
        self,
        x: torch.Tensor,
        output: ModelOutput,
        inputs: Mapping[str, Any],
        labels: torch.Tensor | None,
        num_target_tokens: int | torch.Tensor | None,
    ) -> None:
        if labels is not None:
            raise ModelError("feature maps have no loss of their own", fix="leave out labels")
        states, stages = output.hidden_states, self.config.chosen_stages
        assert states is not None
        output.feature_maps = tuple(self.feature_map(states[at], inputs) for at in stages)
        if not inputs.get("output_hidden_states"):
            output.hidden_states = None

    def feature_map(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        """One layer's states as an image.

        Args:
            x (Tensor): [b, s, d]
            inputs: of the forward pass; `pixel_values` say how many rows of patches there are.

        Returns:
            [b, d, rows, columns]; [b, s, d] where the config does not reshape
        """
        body, config = self.body, self.config
        if config.apply_layernorm:
            norm: nn.Module = body.get_submodule("layernorm")
            x = norm(x)
        if not config.reshape_hidden_states:
            return x
        images = inputs.get("pixel_values")
        if images is None:
            raise ModelError("feature maps need pixel_values, which say how the patches lie")
        grid = tuple(side // config.patch_size for side in images.shape[-2:])
        return x[:, body.leading :].transpose(1, 2).unflatten(2, grid).contiguous()
