"""P-tuning (Liu et al. 2021): the embeddings of virtual tokens are what a small network makes of
trained vectors. The network is needed in training alone; files keep what it makes."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tfcli.models.adapters.change import Kept
from tfcli.models.adapters.prompts import Prompt
from tfcli.models.adapters.settings import Encoder
from tfcli.models.sharding import fill

if TYPE_CHECKING:
    from tfcli.models.model import Model


class EncodedPrompt(Prompt):
    """Virtual tokens that are made by PEFT's PromptEncoder.

    - `mlp`: three linears with ReLUs between them.
    - `lstm`: an LSTM that reads the tokens in both directions, and two linears.

    Args:
        count: how many tokens.
        width: numbers of each.
        encoder: the network.

    Attributes:
        embedding (Tensor): [count, width], what the network reads.
    """

    def __init__(self, count: int, width: int, encoder: Encoder) -> None:
        super().__init__(count, width)
        self.encoder, self.width = encoder, encoder.width or width
        inner = self.width
        self.lstm_head: nn.LSTM | None = None
        if encoder.kind == "lstm":
            self.lstm_head = nn.LSTM(
                width,
                inner,
                encoder.layers,
                dropout=encoder.dropout,
                bidirectional=True,
                batch_first=True,
            )
            sizes = [2 * inner, 2 * inner, width]
        else:
            sizes = [width, inner, inner, width]
        layers = [each for pair in pairwise(sizes) for each in (nn.Linear(*pair), nn.ReLU())]
        self.mlp_head = nn.Sequential(*layers[:-1])

    def forward(self) -> Tensor:
        """What the network makes, [count, width], in float32 whatever the model computes in."""
        with torch.autocast(self.embedding.device.type, enabled=False):
            x = self.embedding[None]
            if self.lstm_head is not None:
                x, _ = self.lstm_head(x)
            made: Tensor = self.mlp_head(x)[0]
        return made

    def kept(self) -> dict[str, Kept]:
        """What the network makes, without its dropout."""
        return {
            "prompt_embeddings": Kept(tuple(self.embedding.shape), self.embedding.dtype, self._made)
        }

    @torch.no_grad()
    def _made(self) -> Tensor:
        trains = self.training
        self.eval()
        made = self()
        self.train(trains)
        return made

    def _begin(self, model: Model, drawing: torch.Generator) -> None:
        """The usual first values of torch's layers, as PEFT's encoder has them."""
        fill(self.embedding, torch.randn(self.embedding.shape, generator=drawing))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.LSTM):
                fan = module.hidden_size if isinstance(module, nn.LSTM) else module.in_features
                bound = 1 / math.sqrt(fan)
                for parameter in module.parameters():
                    drawn = torch.rand(parameter.shape, generator=drawing)
                    fill(parameter, (2 * drawn - 1) * bound)
