"""A tower as it is: its states, and one vector for each image or text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from tfcli.models.configs.clip import CLIPTextConfig, CLIPVisionConfig
from tfcli.models.errors import ModelError
from tfcli.models.layers.linear import linear
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput


class Tower(Model):
    """The backbone alone, as transformers' base models are.

    The output has `last_hidden_state` [b, s, d] and, where the family pools, `pooler_output`
    [b, d]. Logits [b, d] are the pooled states, or without a pooler the mean of the states.
    """

    task = "embedding"
    headless = True
    pools = True

    def finish(
        self,
        x: torch.Tensor,
        output: ModelOutput,
        inputs: Mapping[str, Any],
        labels: torch.Tensor | None,
        num_target_tokens: int | torch.Tensor | None,
    ) -> None:
        output.last_hidden_state = x
        output.pooler_output = self.body.pooler_output(x, inputs)
        super().finish(x, output, inputs, labels, num_target_tokens)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        pooled = self.body.pooler_output(x, inputs)
        return x.mean(1) if pooled is None else pooled

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, **more: Any) -> torch.Tensor:
        raise ModelError("an embedding model has no loss of its own", fix="leave out labels")


class Projection(Model):
    """The pooled state through a linear into the space that images and texts share.

    The output has `last_hidden_state` [b, s, d] and the projected vectors [b, projection_dim]
    under `output_name`, not scaled to length 1; logits are the same.

    Class attributes:
        linear_name: what checkpoints call the linear.
        output_name: field of the output.
    """

    task = "projection"
    linear_name: ClassVar[str]
    output_name: ClassVar[str]

    config: CLIPTextConfig | CLIPVisionConfig

    def add_head(self) -> None:
        projection = linear(self.body.width(), self.config.projection_dim, bias=False)
        self.add_module(self.linear_name, projection)

    def finish(
        self,
        x: torch.Tensor,
        output: ModelOutput,
        inputs: Mapping[str, Any],
        labels: torch.Tensor | None,
        num_target_tokens: int | torch.Tensor | None,
    ) -> None:
        super().finish(x, output, inputs, labels, num_target_tokens)
        output.last_hidden_state = x
        setattr(output, self.output_name, output.logits)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return getattr(self, self.linear_name)(self.body.pooler_output(x, inputs))

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, **more: Any) -> torch.Tensor:
        raise ModelError("one tower has no loss of its own", fix="leave out labels")
