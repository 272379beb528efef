"""Funnel Transformer (Dai et al. 2020): blocks that pool their states, and a decoder for all.

Reference: transformers `modeling_funnel.py`; names of modules and parameters are the same. Two
states become one whatever they are, so what a text gives depends on its padding, as in theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.run import run_blocks
from tfcli.models.config import BaseConfig
from tfcli.models.configs.funnel import FunnelConfig
from tfcli.models.context import Context
from tfcli.models.heads.embedding import Embedding as EmbeddingHead
from tfcli.models.heads.embedding import pool
from tfcli.models.heads.masked_lm import MaskedLM
from tfcli.models.heads.multiple_choice import MultipleChoice
from tfcli.models.heads.sequence_classification import SequenceClassification, whole
from tfcli.models.layers.activations import activation
from tfcli.models.layers.attention import Attend, split_heads
from tfcli.models.layers.embeddings import Embedding
from tfcli.models.layers.linear import linear
from tfcli.models.layers.masks import AttentionMask
from tfcli.models.layers.norms import layer_norm

_FIRST = 2  # the segment of the first token, which is in all segments


@dataclass(frozen=True, eq=False)
class Row:
    """What is known of the states of a row.

    Args:
        places (Tensor): int64 [s], where in the text they stand.
        types (Tensor): [b, s], their segments.
        real (Tensor): float [b, s], 0 for padding; None where nothing is padded.
    """

    places: torch.Tensor
    types: torch.Tensor
    real: torch.Tensor | None

    def pooled(self, config: FunnelConfig) -> Row:
        """The same of half as many."""
        real = self.real
        if real is not None:
            real = -halved(-real[..., None], config, "max")[..., 0]
        return Row(every_second(self.places, 0, config), every_second(self.types, 1, config), real)


@dataclass(frozen=True, eq=False)
class View:
    """What the layers of one block share.

    Args:
        table (Tensor): [rows, d], the embedding of each distance.
        index (Tensor): int64 [q, k], the row for each pair of a query and a key.
        alike (Tensor): bool [b, 1, q, k], whether both are in one segment.
        mask: which keys are padding.
        halves: what queries are pooled by, in the first layer of a block, else None.
    """

    table: torch.Tensor
    index: torch.Tensor
    alike: torch.Tensor
    mask: AttentionMask
    halves: FunnelConfig | None = None


def every_second(x: torch.Tensor, dim: int, config: FunnelConfig) -> torch.Tensor:
    """Every second entry along a dimension; the first token's, where it stays apart, and then
    every second of the others."""
    if not config.separate_cls:
        return x[(slice(None),) * dim + (slice(None, None, 2),)]
    end = -1 if config.truncate_seq else None
    first = x.narrow(dim, 0, 1)
    return torch.cat((first, x), dim)[(slice(None),) * dim + (slice(None, end, 2),)]


def halved(x: torch.Tensor, config: FunnelConfig, kind: str) -> torch.Tensor:
    """Each two states become one, the first token apart where the config says so.

    x (Tensor): [b, s, d] -> [b, s / 2, d]; `kind` is mean or max.
    """
    if config.separate_cls:
        x = torch.cat((x[:, :1], x[:, :-1] if config.truncate_seq else x), 1)
    pooling = F.avg_pool2d if kind == "mean" else F.max_pool2d
    return pooling(x[:, None], (2, 1), stride=(2, 1), ceil_mode=True)[:, 0]


class FunnelAttention(nn.Module):
    """norm(x + attention(x)). Scores have a part for words, one for distances, one for segments."""

    def __init__(self, config: FunnelConfig, attention: str) -> None:
        super().__init__()
        size, heads, width = config.hidden_size, config.num_attention_heads, config.d_head
        self.head_dim, self.apart = width, config.separate_cls
        self.q_head = linear(size, heads * width, bias=False)
        self.k_head = linear(size, heads * width, bias=True)
        self.v_head = linear(size, heads * width, bias=True)
        self.r_w_bias = nn.Parameter(torch.zeros(heads, width))
        self.r_r_bias = nn.Parameter(torch.zeros(heads, width))
        self.r_s_bias = nn.Parameter(torch.zeros(heads, width))
        self.r_kernel = nn.Parameter(torch.zeros(size, heads, width))
        self.seg_embed = nn.Parameter(torch.zeros(2, heads, width))
        self.post_proj = linear(heads * width, size, bias=True)
        self.layer_norm = layer_norm(size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.attend = Attend(attention, width**-0.5, config.attention_dropout)

    def forward(
        self, x: torch.Tensor, source: torch.Tensor, view: View, context: Context
    ) -> torch.Tensor:
        """x (Tensor): [b, q, d], source (Tensor): [b, k, d], what it looks at -> [b, q, d]"""
        query = split_heads(self.q_head(x), self.head_dim)
        key = split_heads(self.k_head(source), self.head_dim)
        value = split_heads(self.v_head(source), self.head_dim)
        words = query + self.r_w_bias[:, None]
        mask = view.mask.with_bias(self.bias(query, view) * self.attend.scale)
        seen = self.attend(words, key, value, mask, context.attentions)
        return self.layer_norm(x + self.dropout(self.post_proj(seen)))

    def bias(self, query: torch.Tensor, view: View) -> torch.Tensor:
        """What distances and segments add to the scores: [b, heads, q, head_dim] -> [.., q, k]"""
        distances = torch.einsum("td,dhe->het", view.table, self.r_kernel)
        index = view.index.expand(*query.shape[:2], -1, -1)
        far = ((query + self.r_r_bias[:, None]) @ distances).gather(-1, index)
        segments = query + self.r_s_bias[:, None]
        other, same = ((segments * each[:, None]).sum(-1, keepdim=True) for each in self.seg_embed)
        total = far + torch.where(view.alike, same, other)
        if self.apart:  # the first token stands nowhere
            inner = total.new_ones(total.shape[-2:])
            inner[0], inner[:, 0] = 0, 0
            total = total * inner
        return total


class FunnelMLP(nn.Module):
    """norm(x + mlp(x))."""

    def __init__(self, config: FunnelConfig) -> None:
        super().__init__()
        self.linear_1 = linear(config.hidden_size, config.d_inner, bias=True)
        self.linear_2 = linear(config.d_inner, config.hidden_size, bias=True)
        self.layer_norm = layer_norm(config.hidden_size, config.layer_norm_eps)
        self.act = activation(config.hidden_act)
        self.activation_dropout = nn.Dropout(config.activation_dropout)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        inner = self.activation_dropout(self.act(self.linear_1(x)))
        return self.layer_norm(x + self.dropout(self.linear_2(inner)))


class FunnelLayer(nn.Module):
    """Attention and an mlp; the first of a block pools its queries."""

    def __init__(self, config: FunnelConfig, attention: str) -> None:
        super().__init__()
        self.attention = FunnelAttention(config, attention)
        self.ffn = FunnelMLP(config)

    def forward(self, x: torch.Tensor, context: Context, view: View) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s or s / 2, d]"""
        source = x
        if view.halves is not None:
            x = halved(x, view.halves, view.halves.pooling_type)
            source = source if view.halves.pool_q_only else x
        return self.ffn(self.attention(x, source, view, context))


class FunnelEmbeddings(nn.Module):
    """Words, normalised."""

    def __init__(self, config: FunnelConfig) -> None:
        super().__init__()
        self.word_embeddings = Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layer_norm = layer_norm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d], rows of the table -> [b, s, d]"""
        return self.dropout(self.layer_norm(x))


class FunnelModel(Backbone[FunnelConfig]):
    """Embeddings, blocks, and a decoder, without which there are fewer states than tokens."""

    prefix = "funnel"
    tokens = "embeddings.word_embeddings"
    packs = False
    inputs = ("token_type_ids",)

    def __init__(self, config: FunnelConfig, attention: str) -> None:
        super().__init__(config, attention)
        self.embeddings = FunnelEmbeddings(config)

        def layers(count: int) -> nn.ModuleList:
            return nn.ModuleList(FunnelLayer(config, attention) for _ in range(count))

        blocks = nn.ModuleList(layers(count) for count in config.block_sizes)
        self.encoder = nn.ModuleDict({"blocks": blocks})
        self.decoder: nn.ModuleDict | None = nn.ModuleDict(
            {"layers": layers(config.num_decoder_layers)}
        )
        self.sin_dropout = nn.Dropout(config.hidden_dropout)
        self.cos_dropout = nn.Dropout(config.hidden_dropout)

    def drop_decoder(self) -> None:
        """Go without the decoder, in tasks that need one state for a text."""
        self.decoder = None

    def block_lists(self) -> tuple[str, ...]:
        blocks = tuple(f"encoder.blocks.{number}" for number in range(len(self.config.block_sizes)))
        return blocks if self.decoder is None else (*blocks, "decoder.layers")

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], rows of the table -> [b, s, d], without the decoder fewer."""
        config, length = self.config, x.shape[1]
        x = self.embeddings(x)
        types, padding = context.inputs.get("token_type_ids"), context.sight.padding
        if types is None:
            types = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
        places = torch.arange(length, device=x.device)
        whole_row = row = Row(places, types, None if padding is None else padding.float())
        first = x
        blocks = self.encoder["blocks"]
        assert isinstance(blocks, nn.ModuleList)
        for number, block in enumerate(blocks):
            assert isinstance(block, nn.ModuleList)
            calls = [layer for layer in block for _ in range(config.repeats[number])]
            if number and x.shape[1] > (2 if config.separate_cls else 1):
                half = row.pooled(config)
                view = self.view(half, row if config.pool_q_only else half, number, x, pools=True)
                x = run_blocks(calls[:1], x, context, view)
                row, calls = half, calls[1:]
            view = self.view(row, row, number, x)
            if number:
                x = run_blocks(calls, x, context, view)
            else:  # theirs counts layers here, not how often they run
                first = run_blocks(calls[: len(block)], x, context, view)
                x = run_blocks(calls[len(block) :], first, context, view)
        x = context.finished(x)
        if self.decoder is None:
            return x
        x = first + self.spread(x, length)
        decoder = self.decoder["layers"]
        assert isinstance(decoder, nn.ModuleList)
        x = run_blocks(decoder, x, context, self.view(whole_row, whole_row, 0, x))
        return context.finished(x)

    def view(
        self, queries: Row, keys: Row, block: int, x: torch.Tensor, *, pools: bool = False
    ) -> View:
        """What the layers of a block share.

        Args:
            queries: the row that looks.
            keys: the row that it looks at.
            block: number of the block.
            x (Tensor): gives the type and the width.
            pools: queries are pooled states.
        """
        config = self.config
        if config.attention_type == "factorized":
            far = queries.places[:, None] - keys.places
        else:
            counts = [torch.arange(len(row.places), device=x.device) for row in (queries, keys)]
            if len(counts[0]) == len(counts[1]):
                far = (counts[0][:, None] - counts[1]) * 2**block
            else:
                far = (2 * counts[0][:, None] - counts[1]) * 2 ** (block - 1)
                far = far - (2 ** (block - 1) if config.separate_cls else 0)
        # No two are farther apart, and no value has to be read for that.
        reach = max(len(queries.places), len(keys.places)) << block
        table = self.distances(torch.arange(-reach, reach + 1, device=x.device), x)
        one, other = queries.types[:, :, None], keys.types[:, None]
        alike = ((one == other) | (one == _FIRST) | (other == _FIRST))[:, None]
        visible = None
        if keys.real is not None:
            visible = (keys.real > 0)[:, None, None].expand(-1, -1, len(queries.places), -1)
            visible = visible | ~visible.any(-1, keepdim=True)
        return View(table, far + reach, alike, AttentionMask(visible), config if pools else None)

    def distances(self, places: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Sines and cosines of distances [n], of x's type: [n, d]"""
        half = x.shape[-1] // 2
        rates = 10000.0 ** (-torch.arange(half, dtype=torch.float, device=x.device) / half)
        angles = places[:, None].float() * rates
        parts = (self.sin_dropout(angles.sin()), self.cos_dropout(angles.cos()))
        return torch.cat(parts, -1).to(x.dtype)

    def spread(self, x: torch.Tensor, length: int) -> torch.Tensor:
        """Each pooled state in the place of those that it was made of: [b, s, d]"""
        config = self.config
        times = 2 ** (len(config.block_sizes) - 1)
        if times == 1:
            return x
        if not config.separate_cls:
            return x.repeat_interleave(times, 1)[:, :length]
        others = x[:, 1:].repeat_interleave(times, 1)
        if config.truncate_seq:  # nothing was made of the last ones
            others = F.pad(others, (0, 0, 0, times - 1))
        return torch.cat((x[:, :1], others[:, : length - 1]), 1)

    def drawn(self, name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor | None:
        """Linears by their size, what attention adds to linears evenly from 0 on."""
        std, values = self.config.initializer_std, torch.empty(shape)
        if name.endswith(("r_w_bias", "r_r_bias", "r_s_bias", "r_kernel", "seg_embed")):
            return values.uniform_(0.0, self.config.initializer_range, generator=random)
        if len(shape) != 2:
            return None
        if not name.endswith("word_embeddings.weight"):
            std = sum(shape) ** -0.5 if std is None else std
            return values.normal_(0.0, std, generator=random)
        values.normal_(0.0, 1.0 if std is None else std, generator=random)
        if self.config.pad_token_id is not None:
            values[self.config.pad_token_id] = 0
        return values


class FunnelMaskedLM(MaskedLM):
    """One linear, tied to the token table."""

    def add_head(self) -> None:
        self.lm_head = linear(self.body.width(), self.config.text.vocab_size, bias=True)

    @classmethod
    def possible_ties(cls, config: BaseConfig) -> dict[str, str]:
        return {"lm_head.weight": f"{cls.base()}.{cls.body_class.tokens_of(config)}.weight"}

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.lm_head(x)


class FunnelClassifier(nn.Module):
    """Linear, tanh, dropout, linear."""

    def __init__(self, config: BaseConfig, outputs: int) -> None:
        super().__init__()
        self.linear_hidden = linear(config.width, config.width, bias=True)
        self.dropout = nn.Dropout(config.head_dropout)
        self.linear_out = linear(config.width, outputs, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, d] -> [b, outputs]"""
        return self.linear_out(self.dropout(torch.tanh(self.linear_hidden(x))))


def without_decoder(ignorable: dict[str, str]) -> dict[str, str]:
    """What is not needed, with the decoder."""
    return ignorable | {r"^(funnel\.)?decoder\.": "the task does not use the decoder"}


class FunnelClassification(SequenceClassification):
    """On the first state of the last block."""

    pools = False

    def add_head(self) -> None:
        assert isinstance(self.body, FunnelModel)
        self.body.drop_decoder()
        self.classifier = FunnelClassifier(self.config, self.outputs(self.config))

    @classmethod
    def ignorable_of(cls, config: BaseConfig) -> dict[str, str]:
        return without_decoder(super().ignorable_of(config))

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        whole(inputs)
        return self.classifier(x[:, 0])


class FunnelMultipleChoice(FunnelClassification, MultipleChoice):
    """The same, with one score for each choice."""


class FunnelBaseModel(EmbeddingHead):
    """The states of the last block, pooled; see `Embedding`. They have no padding of their own."""

    task: ClassVar[str] = "pooled-embedding"

    def add_head(self) -> None:
        assert isinstance(self.body, FunnelModel)
        self.body.drop_decoder()

    @classmethod
    def ignorable_of(cls, config: BaseConfig) -> dict[str, str]:
        return without_decoder(super().ignorable_of(config))

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        whole(inputs)
        vectors = pool(x, None, self.pooling)
        return F.normalize(vectors, dim=-1) if self.normalize else vectors
