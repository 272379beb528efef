"""DoLa: what the last layer says more than an earlier one (Chuang et al. 2023). The rules are those
of transformers 4.46.3."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from tfcli.errors import UsageError
from tfcli.generation.processors import NEVER
from tfcli.generation.readers import Reader
from tfcli.generation.strategies.settings import DolaLayers
from tfcli.models.heads.causal_lm import CausalLM
from tfcli.models.model import Model

KEY = "dola_layers"
SHARE = math.log(0.1)
"""Tokens that have less than this share of the likeliest one's probability do not come."""
DEEP = 40
"""Of models with more layers than this, half of these are looked at."""


class LayerContrast(Reader):
    """A reader whose logits are what the last layer says more than the earlier layer from which it
    differs most.

    Args:
        reader: of a model that continues texts.
        layers: which ones are looked at; 0 is the embeddings.
    """

    def __init__(self, reader: Reader, layers: Sequence[int]) -> None:
        self.model, self._reader, self._layers = reader.model, reader, list(layers)
        super().__init__(reader.begin, reader.cache)
        reader.keeps_states = True

    def __call__(self, ids: torch.Tensor, last: int = 1) -> torch.Tensor:
        final = self._reader(ids, last).float()
        model = self.model
        assert isinstance(model, CausalLM)
        earlier = torch.stack(
            [model.logits_of(self._reader.states[at][:, -last:]).float() for at in self._layers]
        )
        return contrasted(final, earlier)

    def select(self, rows: torch.Tensor) -> None:
        self._reader.select(rows)
        self.begin = self._reader.begin

    def crop(self, length: int) -> None:
        self._reader.crop(length)


def contrasted(final: torch.Tensor, earlier: torch.Tensor) -> torch.Tensor:
    """What the last layer says more than the earlier one that differs most, of each place.

    Args:
        final (Tensor): logits, float32 [b, s, vocab].
        earlier (Tensor): of the layers, float32 [layers, b, s, vocab].

    Returns:
        [b, s, vocab]; -inf of tokens that are unlikely at the last layer
    """
    own, others = final.log_softmax(-1), earlier.log_softmax(-1)
    mean = 0.5 * (own.exp() + others.exp())
    # The divergence of Jensen and Shannon, as theirs is: with the mean as the target.
    differ = (2 * torch.xlogy(mean, mean) - mean * own - mean * others).sum(-1)
    which = differ.argmax(0)[None, ..., None].expand(1, *final.shape)
    other = others.gather(0, which)[0]
    kept = own >= own.amax(-1, keepdim=True) + SHARE
    return torch.where(kept, own - other, NEVER)


def dola_layers(model: Model, asked: DolaLayers) -> list[int]:
    """The layers that are looked at.

    Args:
        model: that continues texts.
        asked: the lower or the upper half, every second layer of it; or their numbers.

    Raises:
        UsageError: a model that has no earlier layers to look at, or none of these.
    """
    config = model.config.text
    depth = config.num_hidden_layers
    if not isinstance(model, CausalLM):
        raise UsageError(
            f"{model.config.model_type} reads with an encoder, and {KEY} looks at one stack of "
            "layers",
            where=KEY,
            fix="leave it out",
        )
    # Tied embeddings would be read as the words that they are.
    first = 0 if not config.tie_word_embeddings else min(2, depth - 1)
    half = depth // 2 if depth <= DEEP else DEEP // 2
    if asked == "low":
        found = [first] if first == depth // 2 else list(range(first, half, 2))
    elif asked == "high":
        found = list(range(depth - half if depth > DEEP else half, depth, 2))
    else:
        found = [layer for layer in asked if isinstance(layer, int) and layer < depth]
    if not found:
        raise UsageError(
            f"none of the model's {depth} layers is among those of {KEY}: {asked}",
            where=KEY,
            fix=f"name some from 0 to {depth - 1}",
        )
    return found
