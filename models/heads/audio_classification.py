"""Labels for a whole recording."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tfcli.models.config import BaseConfig
from tfcli.models.configs.speech import SpeechConfig
from tfcli.models.heads.embedding import pool
from tfcli.models.heads.seq2seq_plain import EncoderHead
from tfcli.models.layers.linear import linear
from tfcli.models.losses import classification_loss
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput


class AudioClassification(Model):
    """A linear on every state, their mean, and another linear. Logits [b, labels].

    With `use_weighted_layer_sum` the states are a sum of those of all layers, with weights that
    are learned. `labels` are those of `losses.classification_loss`.
    """

    task = "audio-classification"

    config: SpeechConfig

    def add_head(self) -> None:
        super().add_head()
        config = self.config
        if config.use_weighted_layer_sum:
            layers = config.num_hidden_layers + 1  # their states, and the first one's input
            self.layer_weights = nn.Parameter(torch.empty(layers))
        self.projector = linear(self.body.width(), config.classifier_proj_size, bias=True)
        self.classifier = linear(config.classifier_proj_size, config.num_labels, bias=True)

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        return torch.full(shape, 1 / shape[0]) if name == "layer_weights" else None

    def run(self, inputs: Mapping[str, Any]) -> tuple[torch.Tensor, ModelOutput]:
        if not self.config.use_weighted_layer_sum:
            return super().run(inputs)
        asked = inputs.get("output_hidden_states", False)
        _, output = super().run({**inputs, "output_hidden_states": True})
        assert output.hidden_states is not None
        weights = self.layer_weights.softmax(-1)
        x = torch.stack([w * x for w, x in zip(weights, output.hidden_states, strict=True)]).sum(0)
        if not asked:
            output.hidden_states = None
        return x, output

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        mask = self.body.mask_of(inputs.get("attention_mask"), inputs, x)
        return self.classifier(pool(self.projector(x), mask, "mean"))

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, **more: Any) -> torch.Tensor:
        return classification_loss(logits, labels, self.config.problem_type)


class WhisperClassification(AudioClassification, EncoderHead):
    """The same on Whisper's encoder, whose parameters checkpoints store without a prefix."""

    @classmethod
    def bare(cls) -> bool:
        return True

    @classmethod
    def ignorable_of(cls, config: BaseConfig) -> dict[str, str]:
        return super().ignorable_of(config) | {
            r"^proj_out\.weight$": "part of the head that writes text",
        }
