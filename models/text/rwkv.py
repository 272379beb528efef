"""RWKV 4 (Peng et al. 2023): attention as a running average with a decay for each channel.

Reference: transformers `modeling_rwkv.py`; names of modules and parameters are the same. In
inference transformers halves the residual stream every `rescale_every` layers, and the weights
that write to it, so that float16 does not overflow. The final norm undoes that, but for its eps.
The same is done here, on the activations: the weights stay as they are stored.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.run import run_blocks
from tfcli.models.caches.layers import RecurrentLayer
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.config import BaseConfig
from tfcli.models.configs.rwkv import RwkvConfig
from tfcli.models.context import Context
from tfcli.models.folding import Fold, after_norm
from tfcli.models.heads.causal_lm import CausalLM
from tfcli.models.layers.embeddings import Embedding
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.recurrence import Tensors, recur
from tfcli.models.rules import Rename, Rule

_NEVER = -1e38  # the logarithm of a sum of nothing


def shifted(x: torch.Tensor, last: torch.Tensor | None, context: Context) -> torch.Tensor:
    """The token before each token; `last` [b, d] before the first. x (Tensor): [b, s, d]

    Padding on the left is no token: what follows it has none before.
    """
    first = torch.zeros_like(x[:, :1]) if last is None else last[:, None].to(x.dtype)
    before = torch.cat((first, x[:, :-1]), dim=1)
    padding = context.sight.padding
    if padding is None:
        return before
    earlier = nn.functional.pad(padding, (1, 0)).index_select(1, context.places)
    return before * earlier[:, :, None].to(x.dtype)


class RwkvAttention(RecurrentLayer):
    """Keys weigh values; the weights decay from token to token."""

    def __init__(self, config: RwkvConfig, layer: int) -> None:
        super().__init__()
        size, inner = config.hidden_size, config.attention_hidden_size
        assert inner is not None
        self.layer = layer
        self.time_decay = nn.Parameter(torch.empty(inner))
        self.time_first = nn.Parameter(torch.empty(inner))
        self.time_mix_key = nn.Parameter(torch.empty(1, 1, size))
        self.time_mix_value = nn.Parameter(torch.empty(1, 1, size))
        self.time_mix_receptance = nn.Parameter(torch.empty(1, 1, size))
        self.key = linear(size, inner, bias=False)
        self.value = linear(size, inner, bias=False)
        self.receptance = linear(size, inner, bias=False)
        self.output = linear(inner, size, bias=False)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        carried = self.carried(context)
        before = shifted(x, carried.get("last"), context)
        key = self.key(mixed(x, before, self.time_mix_key))
        value = self.value(mixed(x, before, self.time_mix_value))
        receptance = torch.sigmoid(self.receptance(mixed(x, before, self.time_mix_receptance)))
        average, state = self.average(key.float(), value.float(), carried, context)
        self.carry_on(context, last=x[:, -1], **state)
        return self.output(receptance * average.to(x.dtype))

    reads = ("key", "value", "receptance")  # see `folding`

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield Fold("value", ("output",))

    def average(
        self,
        key: torch.Tensor,
        value: torch.Tensor,
        carried: dict[str, torch.Tensor],
        context: Context,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The weighted average of the values so far, at each token.

        Weights are exponentials; the largest exponent is kept apart, so that none overflows.

        Args:
            key (Tensor): [b, s, inner], float32.
            value (Tensor): [b, s, inner], float32.
            carried: the state after the token before.
            context: says what is padding, which adds nothing.

        Returns:
            [b, s, inner], and the state after the last token
        """
        decay, bonus = -torch.exp(self.time_decay.float()), self.time_first.float()
        top = carried.get("top", torch.full_like(key[:, 0], _NEVER))
        total = carried.get("total", torch.zeros_like(top))
        weight = carried.get("weight", torch.zeros_like(top))
        padding = context.padding
        inputs: Tensors = (key, value)
        if padding is not None:
            inputs = (key, value, padding.bool())

        def step(state: Tensors, token: Tensors) -> tuple[Tensors, torch.Tensor]:
            (top, total, weight), (own, seen) = state, token[:2]
            peak = torch.maximum(top, own + bonus)
            old, new = torch.exp(top - peak), torch.exp(own + bonus - peak)
            average = (old * total + new * seen) / (old * weight + new)
            peak = torch.maximum(top + decay, own)
            old, new = torch.exp(top + decay - peak), torch.exp(own - peak)
            after = (peak, old * total + new * seen, old * weight + new)
            if padding is not None:
                real = token[2][:, None]
                kept = zip(after, state, strict=True)
                return tuple(torch.where(real, new, old) for new, old in kept), average
            return after, average

        (top, total, weight), outputs = recur(step, (top, total, weight), inputs)
        return outputs, {"top": top, "total": total, "weight": weight}


class RwkvFeedForward(RecurrentLayer):
    """The mlp, gated by a receptance of its own."""

    slot = "mlp"

    def __init__(self, config: RwkvConfig, layer: int) -> None:
        super().__init__()
        size, inner = config.hidden_size, config.intermediate_size
        assert inner is not None
        self.layer = layer
        self.time_mix_key = nn.Parameter(torch.empty(1, 1, size))
        self.time_mix_receptance = nn.Parameter(torch.empty(1, 1, size))
        self.key = linear(size, inner, bias=False)
        self.receptance = linear(size, size, bias=False)
        self.value = linear(inner, size, bias=False)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        carried = self.carried(context)
        before = shifted(x, carried.get("last"), context)
        inner = torch.relu(self.key(mixed(x, before, self.time_mix_key))).square()
        gate = torch.sigmoid(self.receptance(mixed(x, before, self.time_mix_receptance)))
        self.carry_on(context, last=x[:, -1])
        return gate * self.value(inner)

    reads = ("key", "receptance")  # see `folding`


def mixed(x: torch.Tensor, before: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Each token and the one before it, in shares [1, 1, d]. [b, s, d] -> the same"""
    return x * share + before * (1 - share)


class RwkvBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        config: the family's.
        layer: index of the layer.
    """

    def __init__(self, config: RwkvConfig, layer: int) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_epsilon
        self.pre_ln = layer_norm(size, eps) if layer == 0 else None
        self.ln1 = layer_norm(size, eps)
        self.ln2 = layer_norm(size, eps)
        self.attention = RwkvAttention(config, layer)
        self.feed_forward = RwkvFeedForward(config, layer)
        every = config.rescale_every
        self.shrink = 2.0 ** -(layer // every) if every > 0 else 1.0
        self.halves = every > 0 and (layer + 1) % every == 0

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        if self.pre_ln is not None:
            x = self.pre_ln(x)
        shrink = 1.0 if self.training else self.shrink
        x = x + self.attention(self.ln1(x), context) * shrink
        x = x + self.feed_forward(self.ln2(x), context) * shrink
        return x / 2 if self.halves and not self.training else x

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield from after_norm("ln1", {"attention": self.attention})
        yield from after_norm("ln2", {"feed_forward": self.feed_forward})


class RwkvModel(Backbone[RwkvConfig]):
    """Embeddings, blocks, final norm."""

    prefix = "rwkv"
    tokens = "embeddings"
    packs = False  # the state runs through the whole row
    walk = CalibrationWalk(
        blocks="blocks",
        groups=(
            ("attention.key",),
            ("attention.value",),
            ("attention.receptance",),
            ("attention.output",),
            ("feed_forward.key",),
            ("feed_forward.receptance",),
            ("feed_forward.value",),
        ),
    )

    def __init__(self, config: RwkvConfig, attention: str) -> None:
        super().__init__(config, attention)
        self.embeddings = Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(
            RwkvBlock(config, layer) for layer in range(config.num_hidden_layers)
        )
        self.ln_out = layer_norm(config.hidden_size, config.layer_norm_epsilon)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        return context.finished(self.ln_out(run_blocks(self.blocks, x, context)))

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        """Decays from fast to slow over the channels, and shares from 0 to 1; other curves in
        each layer."""
        leaf = name.rpartition(".")[2]
        if not leaf.startswith("time_"):
            return None
        layer, layers = int(name.split(".")[1]), self.config.num_hidden_layers
        depth, height = layer / max(1, layers - 1), 1 - layer / layers
        if leaf == "time_first":
            return torch.ones(shape)
        if leaf == "time_decay":
            return -5 + 8 * torch.linspace(0, 1, shape[0]) ** (0.7 + 1.3 * depth)
        share = (torch.arange(shape[-1]) / shape[-1]).expand(shape)
        if leaf == "time_mix_receptance" and ".attention." in name:
            return share ** (0.5 * height)
        return share**height + (0.3 * depth if leaf == "time_mix_value" else 0)

    def drawn(self, name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor | None:
        """Matrices are orthogonal; the table is very small, as a norm follows it."""
        if len(shape) != 2:
            return None
        rows, columns = shape
        gain = max(1.0, rows / columns) ** 0.5
        if name == "embeddings.weight":
            gain = 1e-4 * max(shape) ** 0.5
        elif (rows, columns) == (self.config.vocab_size, self.config.hidden_size):
            gain *= 0.5
        return nn.init.orthogonal_(torch.empty(shape), gain, generator=random)


class RwkvCausalLM(CausalLM):
    """The language-model head, which checkpoints call `head`."""

    @classmethod
    def rules_of(cls, config: BaseConfig) -> tuple[Rule, ...]:
        return (*super().rules_of(config), Rename(r"^lm_head\.", "head."))
