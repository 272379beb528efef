"""From an encoder's states to a language model's embeddings."""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models.blocks.cross_decoder import Attention, CrossAttention
from tfcli.models.context import Context, Memory, begin
from tfcli.models.layers.activations import activation
from tfcli.models.layers.linear import linear
from tfcli.models.layers.masks import AttentionMask
from tfcli.models.layers.norms import layer_norm

_EPS = 1e-6
_HEAD_DIM = 64  # of a projector's attention, where the width allows it


class LinearProjector(nn.Module):
    """One linear.

    Args:
        width: of the encoder's states.
        size: d of the language model.
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.linear = linear(width, size, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, width] -> [b, s, size]"""
        return self.linear(x)


class MLPProjector(nn.Module):
    """Two linears with an activation between: width -> size -> size.

    Args:
        width: of the encoder's states.
        size: d of the language model.
        act: name of the activation.
    """

    def __init__(self, width: int, size: int, act: str) -> None:
        super().__init__()
        self.linear_1 = linear(width, size, bias=True)
        self.act = activation(act)
        self.linear_2 = linear(size, size, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, width] -> [b, s, size]"""
        return self.linear_2(self.act(self.linear_1(x)))


class QFormerBlock(nn.Module):
    """Queries look at each other, then at the states, then each through an mlp; norms come after.

    Args:
        width: of queries and states.
        layer: index of the block.
        act: name of the mlp's activation.
        attention: name of the attention backend.
    """

    def __init__(self, width: int, layer: int, act: str, attention: str) -> None:
        super().__init__()
        heads, head_dim = _heads(width)

        def part(kind: type[Attention]) -> Attention:
            return kind(width, heads, head_dim, layer=layer, causal=False, backend=attention)

        self.self_attn, self.cross_attn = part(Attention), part(CrossAttention)
        self.fc1 = linear(width, 4 * width, bias=True)
        self.fc2 = linear(4 * width, width, bias=True)
        self.act = activation(act)
        self.norms = nn.ModuleList(layer_norm(width, _EPS) for _ in range(3))

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, queries, width] -> [b, queries, width]"""
        x = self.norms[0](x + self.self_attn(x, context))
        x = self.norms[1](x + self.cross_attn(x, context))
        return self.norms[2](x + self.fc2(self.act(self.fc1(x))))


class ResamplerBlock(nn.Module):
    """Queries look at the states and at each other at once; norms come before (Flamingo, 2022).

    Args: those of `QFormerBlock`.
    """

    def __init__(self, width: int, layer: int, act: str, attention: str) -> None:
        super().__init__()
        heads, head_dim = _heads(width)
        self.attn = CrossAttention(
            width, heads, head_dim, layer=layer, causal=False, backend=attention, bias=False
        )
        self.fc1 = linear(width, 4 * width, bias=False)
        self.fc2 = linear(4 * width, width, bias=False)
        self.act = activation(act)
        self.norm_states, self.norm_queries, self.norm_mlp = (
            layer_norm(width, _EPS) for _ in range(3)
        )

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, queries, width] -> [b, queries, width]"""
        assert context.memory is not None and context.memory.states is not None
        queries = self.norm_queries(x)
        seen = torch.cat((self.norm_states(context.memory.states), queries), dim=1)
        inner = begin(queries)
        inner.memory = Memory(seen, AttentionMask())
        x = x + self.attn(queries, inner)
        return x + self.fc2(self.act(self.fc1(self.norm_mlp(x))))


class QueryProjector(nn.Module):
    """Learned queries that gather what the states say: as many features whatever their number.

    Args:
        width: of the encoder's states.
        size: d of the language model.
        queries: how many.
        layers: blocks.
        act: name of the activation.
        attention: name of the attention backend.
        block: `QFormerBlock` (Li et al. 2023) or `ResamplerBlock` (Alayrac et al. 2022).
    """

    def __init__(
        self,
        width: int,
        size: int,
        queries: int,
        layers: int,
        act: str,
        attention: str,
        block: type[QFormerBlock] | type[ResamplerBlock],
    ) -> None:
        super().__init__()
        self.query_tokens = nn.Parameter(torch.empty(1, queries, width))
        self.layers = nn.ModuleList(block(width, layer, act, attention) for layer in range(layers))
        self.norm = layer_norm(width, _EPS)
        self.linear = linear(width, size, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, width] -> [b, queries, size]"""
        queries = self.query_tokens.expand(len(x), -1, -1).to(x.dtype)
        context = begin(queries)
        context.memory = Memory(x, AttentionMask())
        for layer in self.layers:
            queries = layer(queries, context)
        return self.linear(self.norm(queries))


def make_projector(
    kind: str,
    width: int,
    size: int,
    *,
    act: str = "gelu",
    queries: int = 32,
    layers: int = 2,
    attention: str = "sdpa",
) -> nn.Module:
    """A new projector of one of `configs.modular.PROJECTORS`.

    Args:
        kind: which.
        width: of the encoder's states.
        size: d of the language model.
        act: name of the activation, where it has one.
        queries: features a medium, of `qformer` and `resampler`.
        layers: blocks of these.
        attention: name of their attention backend.
    """
    if kind == "linear":
        return LinearProjector(width, size)
    if kind == "mlp":
        return MLPProjector(width, size, act)
    block = QFormerBlock if kind == "qformer" else ResamplerBlock
    return QueryProjector(width, size, queries, layers, act, attention, block)


def _heads(width: int) -> tuple[int, int]:
    """How many heads there are, and how wide one is."""
    head_dim = _HEAD_DIM if width % _HEAD_DIM == 0 else width
    return width // head_dim, head_dim
