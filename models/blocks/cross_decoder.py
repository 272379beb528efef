"""The blocks of encoder-decoders (Vaswani et al. 2017): attention in a text and between two."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from tfcli.models.caches.kinds import Dynamic
from tfcli.models.caches.layers import KeyValueLayer
from tfcli.models.caches.recurrent import SourceStore
from tfcli.models.caches.stores import Store
from tfcli.models.calibration import CalibrationWalk, Group
from tfcli.models.context import Context
from tfcli.models.errors import ModelError
from tfcli.models.folding import Fold, after_norm, of_values
from tfcli.models.layers.activations import activation, is_homogeneous
from tfcli.models.layers.attention import Attend, split_heads
from tfcli.models.layers.linear import linear
from tfcli.models.layers.masks import AttentionMask
from tfcli.models.layers.norms import layer_norm


class Attention(KeyValueLayer):
    """Multi-head attention within a text.

    Args:
        hidden_size: d.
        heads: attention heads.
        head_dim: width of a head.
        layer: index of the layer in the cache.
        causal: a decoder's.
        backend: name of an attention backend.
        bias: whether the projections have one.
        out_bias: whether the output's has one; None: as the others.
        key_bias: whether that of the keys has one; None: as the others.
        scale: factor on the scores; None: head_dim ** -0.5.
        dropout: on the attention weights.
        softcap: see `Scores`.
        kv_heads: key and value heads, a divisor of `heads`; None: as many.
        source_size: width of what keys and values are made of; None: d.
        names: what checkpoints call the projections of queries, keys, values and of the output.
    """

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        head_dim: int,
        *,
        layer: int,
        causal: bool,
        backend: str,
        bias: bool = True,
        out_bias: bool | None = None,
        key_bias: bool | None = None,
        scale: float | None = None,
        dropout: float = 0.0,
        softcap: float | None = None,
        kv_heads: int | None = None,
        source_size: int | None = None,
        names: tuple[str, str, str, str] = ("q_proj", "k_proj", "v_proj", "out_proj"),
    ) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.layer = layer
        self.causal = causal
        self.names = names
        of_key = bias if key_bias is None else key_bias
        of_output = bias if out_bias is None else out_bias
        self.add_module(names[0], linear(hidden_size, heads * head_dim, bias))
        source, kv_width = source_size or hidden_size, (kv_heads or heads) * head_dim
        for name, has_bias in zip(names[1:3], (of_key, bias), strict=True):
            self.add_module(name, linear(source, kv_width, has_bias))
        self.add_module(names[3], linear(heads * head_dim, hidden_size, of_output))
        self.attend = Attend(
            backend, head_dim**-0.5 if scale is None else scale, dropout, softcap=softcap
        )

    @property
    def reads(self) -> tuple[str, ...]:
        """See `folding`."""
        return self.names[:3]

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        value, out = (self.get_submodule(name) for name in self.names[2:])
        if isinstance(value, nn.Linear) and isinstance(out, nn.Linear):
            shared, heads = value.out_features // self.head_dim, out.in_features // self.head_dim
            yield of_values(self.names[2], self.names[3], shared, heads, self.head_dim)

    def make_store(self, kind: Dynamic) -> Store | None:
        return super().make_store(kind) if self.causal else None

    def query(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, heads, s, head_dim]"""
        return split_heads(getattr(self, self.names[0])(x), self.head_dim)

    def keys_and_values(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x (Tensor): [b, k, source_size] -> two of [b, kv_heads, k, head_dim]"""
        key, value = (getattr(self, name)(x) for name in self.names[1:3])
        return split_heads(key, self.head_dim), split_heads(value, self.head_dim)

    def output(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, heads * head_dim] -> [b, s, d]"""
        return getattr(self, self.names[3])(x)

    def mask(self, context: Context) -> AttentionMask:
        """The mask of the layer. To be asked for before `Context.remember`."""
        return context.causal(self.layer) if self.causal else context.full()

    def forward(
        self, x: torch.Tensor, context: Context, mask: AttentionMask | None = None
    ) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]. `mask` is taken in place of the layer's own."""
        query, (key, value) = self.query(x), self.keys_and_values(x)
        mask = self.mask(context) if mask is None else mask
        if self.causal:
            key, value = context.remember(self.layer, key, value)
        return self.output(self.attend(query, key, value, mask, context.attentions))


class CrossAttention(Attention):
    """Multi-head attention from a decoder to the encoder's states."""

    slot = "source"

    @property
    def reads(self) -> tuple[str, ...]:
        """See `folding`. Keys and values are made of the encoder's states."""
        return self.names[:1]

    def make_store(self, kind: Dynamic) -> Store | None:
        return kind.source()

    def forward(
        self, x: torch.Tensor, context: Context, mask: AttentionMask | None = None
    ) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]. `mask` is taken in place of the memory's."""
        memory = context.memory
        if memory is None:
            raise ModelError("a decoder with cross-attention needs the encoder's states")
        key, value = self.recalled(context)
        mask = memory.mask if mask is None else mask
        attended = self.attend(self.query(x), key, value, mask, context.cross_attentions)
        return self.output(attended)

    def recalled(self, context: Context) -> tuple[torch.Tensor, ...]:
        """Keys and values of the encoder's states: made once, then kept in the cache."""
        store = context.store(self.layer, self.slot)
        assert store is None or isinstance(store, SourceStore)
        if store is not None and store.pair:
            return store.pair
        memory = context.memory
        if memory is None or memory.states is None:
            raise ModelError("the cache holds nothing of the source", fix="give encoder_states")
        made = self.keys_and_values(memory.states)
        return made if store is None else store.update(*made)


class TransformerBlock(nn.Module):
    """Attention, in a decoder also attention to the encoder's states, and an mlp.

    Args:
        hidden_size: d.
        heads: attention heads.
        intermediate_size: width of the mlp.
        layer: index of the layer in the cache.
        decoder: a decoder's block.
        norm_first: each part is x + part(norm(x)); else norm(x + part(x)).
        key_bias: whether projections of keys have a bias, as all others do.
        act: name of the activation.
        dropout: on what each part adds.
        attention_dropout: on the attention weights.
        activation_dropout: within the mlp.
        backend: name of an attention backend.
    """

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        intermediate_size: int,
        *,
        layer: int,
        decoder: bool,
        norm_first: bool,
        key_bias: bool = True,
        act: str,
        dropout: float,
        attention_dropout: float,
        activation_dropout: float,
        backend: str,
    ) -> None:
        super().__init__()

        def attention(kind: type[Attention]) -> Attention:
            return kind(
                hidden_size,
                heads,
                hidden_size // heads,
                layer=layer,
                causal=decoder,
                backend=backend,
                key_bias=key_bias,
                dropout=attention_dropout,
            )

        self.norm_first = norm_first
        self.self_attn = attention(Attention)
        self.self_attn_layer_norm = layer_norm(hidden_size, _EPS)
        self.encoder_attn = attention(CrossAttention) if decoder else None
        self.encoder_attn_layer_norm = layer_norm(hidden_size, _EPS) if decoder else None
        self.fc1 = linear(hidden_size, intermediate_size, bias=True)
        self.fc2 = linear(intermediate_size, hidden_size, bias=True)
        self.final_layer_norm = layer_norm(hidden_size, _EPS)
        self.act = activation(act)
        self.dropout = nn.Dropout(dropout)
        self.activation_dropout = nn.Dropout(activation_dropout)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = self.add(x, lambda y: self.self_attn(y, context), self.self_attn_layer_norm)
        if self.encoder_attn is not None:
            cross, norm = self.encoder_attn, self.encoder_attn_layer_norm
            assert norm is not None
            x = self.add(x, lambda y: cross(y, context), norm)
        return bounded(self.add(x, self.mlp, self.final_layer_norm))

    def folds(self) -> Iterator[Fold]:
        """See `folding`. Where norms come last, they are of the residual stream."""
        if self.norm_first:
            yield from after_norm("self_attn_layer_norm", {"self_attn": self.self_attn})
            if self.encoder_attn is not None:
                yield from after_norm(
                    "encoder_attn_layer_norm", {"encoder_attn": self.encoder_attn}
                )
            yield from after_norm("final_layer_norm", {"fc1": self.fc1})
        if is_homogeneous(self.act):
            yield Fold("fc1", ("fc2",))

    def mlp(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return self.fc2(self.activation_dropout(self.act(self.fc1(x))))

    def add(
        self, x: torch.Tensor, part: Callable[[torch.Tensor], torch.Tensor], norm: nn.Module
    ) -> torch.Tensor:
        """Add what a part makes of x, normed before or after. x (Tensor): [b, s, d] -> same"""
        if self.norm_first:
            return x + self.dropout(part(norm(x)))
        return norm(x + self.dropout(part(x)))


_EPS = 1e-5  # of every layer norm; no config of these families has a key for it


def bounded(x: torch.Tensor) -> torch.Tensor:
    """Keep float16 finite: the residual streams of these families go past its largest value."""
    if x.dtype != torch.float16:
        return x
    limit = torch.finfo(x.dtype).max
    return x.clamp(-limit, limit)


def walk_of(blocks: str, *, decoder: bool) -> CalibrationWalk:
    """The linears of a list of `TransformerBlock`.

    Args:
        blocks: path of the list.
        decoder: they look at an encoder's states too.
    """
    groups: list[Group] = []
    for attention in ("self_attn", "encoder_attn")[: 1 + decoder]:
        query, key, value, out = (
            f"{attention}.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj")
        )
        crossed = attention == "encoder_attn"
        groups += [(query,), (key, value)] if crossed else [(query, key, value)]
        groups.append((out,))
    return CalibrationWalk(blocks, (*groups, ("fc1",), ("fc2",)))
