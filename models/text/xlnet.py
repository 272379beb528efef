"""XLNet (Yang et al. 2019): relative positions; a second stream predicts without seeing its word.

Reference: transformers `modeling_xlnet.py`; names of modules and parameters are the same. There,
the batch is not the first dimension, also not in `mems`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.config import BaseConfig
from tfcli.models.configs.xlnet import XLNetConfig
from tfcli.models.context import Context
from tfcli.models.errors import ModelError
from tfcli.models.heads.embedding import pool
from tfcli.models.heads.multiple_choice import MultipleChoice
from tfcli.models.heads.sequence_classification import SequenceClassification, whole
from tfcli.models.layers.activations import activation
from tfcli.models.layers.attention import Attend
from tfcli.models.layers.embeddings import Embedding
from tfcli.models.layers.linear import linear
from tfcli.models.layers.masks import AttentionMask, open_empty_rows
from tfcli.models.layers.norms import layer_norm
from tfcli.models.model import Model
from tfcli.models.text.electra import ElectraSummary

NEW_MEMS = "new_mems"


@dataclass(frozen=True, eq=False)
class View:
    """What the layers of one forward pass share.

    Args:
        table (Tensor): [1, rows, d], the embedding of each distance.
        index (Tensor): int64 [s, k], the row for each pair of a query and a key.
        visible (Tensor): bool [b or 1, 1, s, k], or None where all is.
        others (Tensor): the same of the second stream.
        apart (Tensor): bool [b, 1, s, k], whether the two are in different segments, or None.
        mapping (Tensor): [b, n, s], where in the text the second stream's states stand, or None.
    """

    table: torch.Tensor
    index: torch.Tensor
    visible: torch.Tensor | None
    others: torch.Tensor | None
    apart: torch.Tensor | None
    mapping: torch.Tensor | None


class XLNetAttention(nn.Module):
    """norm(x + attention(x)). Scores have a part for words, one for distances, one for segments."""

    def __init__(self, config: XLNetConfig, attention: str) -> None:
        super().__init__()
        size, heads, width = config.hidden_size, config.num_attention_heads, config.head_dim
        for name in ("q", "k", "v", "o", "r"):
            self.register_parameter(name, nn.Parameter(torch.empty(size, heads, width)))
        for name in ("r_r_bias", "r_s_bias", "r_w_bias"):
            self.register_parameter(name, nn.Parameter(torch.empty(heads, width)))
        self.seg_embed = nn.Parameter(torch.empty(2, heads, width))
        self.layer_norm = layer_norm(size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.attend = Attend(attention, width**-0.5, config.dropout)

    def forward(
        self, x: torch.Tensor, memory: torch.Tensor | None, view: View, context: Context
    ) -> torch.Tensor:
        """x (Tensor): [b, s + n, d], memory (Tensor): [b, m, d] -> [b, s + n, d]"""
        length = view.index.shape[0]
        words, more = x[:, :length], x[:, length:]
        source = words if memory is None else torch.cat((memory, words), 1)
        keys = (self.heads(source, "k"), self.heads(source, "v"), self.heads(view.table, "r"))
        seen = self.stream(self.heads(words, "q"), keys, view.visible, view, context)
        if view.mapping is not None:
            # Each state asks from its place in the text.
            query = torch.einsum("bhne,bns->bhse", self.heads(more, "q"), view.mapping)
            asked = self.stream(query, keys, view.others, view, context)
            seen = torch.cat((seen, view.mapping @ asked), 1)
        added = torch.nn.functional.linear(seen, self.get_parameter("o").flatten(1))
        return self.layer_norm(x + self.dropout(added))

    def heads(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, heads, s, head_dim]"""
        return torch.einsum("bsd,dhe->bhse", x, self.get_parameter(name))

    def stream(
        self,
        query: torch.Tensor,
        keys: tuple[torch.Tensor, ...],
        visible: torch.Tensor | None,
        view: View,
        context: Context,
    ) -> torch.Tensor:
        """What queries [b, heads, s, head_dim] see: [b, s, d].

        `keys` are those of words, their values, and those of distances.
        """
        key, value, distances = keys
        moved = {
            name: query + self.get_parameter(f"r_{name}_bias")[:, None] for name in ("w", "r", "s")
        }
        if visible is not None:
            # What sees nothing sees everything alike, as in theirs.
            some = visible.any(-1, keepdim=True)
            moved = {name: each * some for name, each in moved.items()}
            visible = open_empty_rows(visible)
        index = view.index.expand(*query.shape[:2], -1, -1)
        bias = (moved["r"] @ distances.transpose(-1, -2)).gather(-1, index)
        if view.apart is not None:
            segments = torch.einsum("bhse,phe->phbs", moved["s"], self.seg_embed)
            same, other = (part.transpose(0, 1)[..., None] for part in segments)
            bias = bias + torch.where(view.apart, other, same)
        mask = AttentionMask(visible).with_bias(bias * self.attend.scale)
        return self.attend(moved["w"], key, value, mask, context.attentions)


class XLNetMLP(nn.Module):
    """norm(x + mlp(x))."""

    def __init__(self, config: XLNetConfig) -> None:
        super().__init__()
        self.layer_norm = layer_norm(config.hidden_size, config.layer_norm_eps)
        self.layer_1 = linear(config.hidden_size, config.d_inner, bias=True)
        self.layer_2 = linear(config.d_inner, config.hidden_size, bias=True)
        self.act = activation(config.ff_activation)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        inner = self.dropout(self.act(self.layer_1(x)))
        return self.layer_norm(x + self.dropout(self.layer_2(inner)))


class XLNetBlock(nn.Module):
    """One layer. It remembers its input, where the forward pass asks for it."""

    def __init__(self, config: XLNetConfig, layer: int, attention: str) -> None:
        super().__init__()
        self.layer, self.most, self.reused = layer, config.mem_len or 0, config.reuse_len or None
        self.rel_attn = XLNetAttention(config, attention)
        self.ff = XLNetMLP(config)

    def forward(self, x: torch.Tensor, context: Context, view: View) -> torch.Tensor:
        """x (Tensor): [b, s + n, d], the words and the second stream -> [b, s + n, d]"""
        given = context.inputs.get("mems")
        memory = None if given is None else given[self.layer]
        kept = context.inputs.get(NEW_MEMS)
        if kept is not None and context.first_time(self):
            new = x[:, : view.index.shape[0]][:, : self.reused]
            whole_text = new if memory is None else torch.cat((memory, new), 1)
            kept.append(whole_text[:, -self.most :].detach())
        return self.ff(self.rel_attn(x, memory, view, context))


class XLNetModel(Backbone[XLNetConfig]):
    """Words and blocks.

    Inputs, beside `token_type_ids` [b, s]:
        perm_mask (Tensor): [b, s, s], 1 where a token does not see another.
        target_mapping (Tensor): [b, n, s], 1 where a prediction stands in the text. The states are
            then [b, n, d], those of a second stream that does not see the words at its places.
        mems: a tensor [b, m, d] for each layer, from an earlier output: what was before the text.
        use_mems: return such; by default what the config says.
    """

    prefix = "transformer"
    tokens = "word_embedding"
    packs = False
    inputs: ClassVar[tuple[str, ...]] = (
        "token_type_ids",
        "perm_mask",
        "target_mapping",
        "mems",
        "use_mems",
    )
    walk = CalibrationWalk(blocks="layer", groups=(("ff.layer_1",), ("ff.layer_2",)))

    def __init__(self, config: XLNetConfig, attention: str) -> None:
        super().__init__(config, attention)
        self.word_embedding = Embedding(config.vocab_size, config.hidden_size)
        self.mask_emb = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.layer = nn.ModuleList(
            XLNetBlock(config, layer, attention) for layer in range(config.num_hidden_layers)
        )
        self.dropout = nn.Dropout(config.dropout)

    def prepare(self, inputs: dict[str, Any]) -> dict[str, Any]:
        config = self.config
        wanted = config.use_mems_train if self.training else config.use_mems_eval
        return inputs | {NEW_MEMS: [] if inputs.get("use_mems", wanted) else None}

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the words -> [b, s or n, d]; see `Backbone.forward`."""
        length, mapping = x.shape[1], context.inputs.get("target_mapping")
        view = self.view(x, context)
        if mapping is not None:
            asked = self.mask_emb.expand(*mapping.shape[:2], -1)
            x = torch.cat((x, asked.to(x.dtype)), 1)
        x = context.finished(run_blocks(self.layer, self.dropout(x), context, view))
        return self.dropout(x if mapping is None else x[:, length:])

    def view(self, x: torch.Tensor, context: Context) -> View:
        """What the layers share.

        Raises:
            ModelError: inputs of other lengths.
        """
        (batch, length), mems = x.shape[:2], context.inputs.get("mems")
        if mems is not None and len(mems) != len(self.layer):
            raise ModelError(f"there are {len(self.layer)} layers, but {len(mems)} mems")
        past = 0 if not mems else mems[0].shape[1]
        mapping = context.inputs.get("target_mapping")
        places = torch.arange(past, past + length, device=x.device)[:, None]
        keys = torch.arange(past + length, device=x.device)
        others = self.visible(places, keys, past, context)
        visible = None if others is None else others | (places == keys)
        types, apart = context.inputs.get("token_type_ids"), None
        if types is not None:
            known = torch.cat((types.new_zeros(batch, past), types), 1)
            apart = (types[:, :, None] != known[:, None])[:, None]
        table = self.dropout(self.distances(past + length, length, x))
        index = places - keys + length - 1
        return View(
            table, index, visible, others, apart, None if mapping is None else mapping.to(x.dtype)
        )

    def visible(
        self, places: torch.Tensor, keys: torch.Tensor, past: int, context: Context
    ) -> torch.Tensor | None:
        """Which keys a query of the second stream sees: bool [b or 1, 1, s, k], or None for all."""
        padding, perm = context.sight.padding, context.inputs.get("perm_mask")
        length = len(places)
        hidden = None
        if self.config.attn_type == "uni":
            hidden = (keys > places)[None, None]
            if self.config.same_length:
                hidden = hidden | ((keys < places - past) & (keys < length))
        for mask in (
            None if padding is None else (padding == 0)[:, None, None],
            None if perm is None else (perm > 0)[:, None],
        ):
            if mask is not None:
                mask = nn.functional.pad(mask, (past, 0))  # what is remembered can be seen
                hidden = mask if hidden is None else hidden | mask
        return None if hidden is None else ~hidden.expand(-1, -1, length, -1)

    def distances(self, keys: int, queries: int, x: torch.Tensor) -> torch.Tensor:
        """Sines and cosines of the distances from 1 - queries on: [1, keys + queries - 1, d]"""
        size, limit = x.shape[-1], self.config.clamp_len
        at = torch.arange(1 - queries, keys, dtype=torch.float, device=x.device)
        at = at.clamp(-limit, limit) if limit > 0 else at
        rates = 10000.0 ** (-torch.arange(0, size, 2, dtype=torch.float, device=x.device) / size)
        angles = at[:, None] * rates
        return torch.cat((angles.sin(), angles.cos()), -1)[None].to(x.dtype)

    def drawn(self, name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor | None:
        if not name.endswith(("r_r_bias", "r_s_bias", "r_w_bias")):
            return None
        return torch.empty(shape).normal_(0.0, self.config.initializer_range, generator=random)


class XLNetLM(Model):
    """Logits [b, s or n, vocab] for the word at each place, or at those of `target_mapping`.

    `labels` are [b, s or n], -100 where there is none. Without `perm_mask`, each word is seen.
    """

    task = "permutation-lm"

    def add_head(self) -> None:
        self.lm_loss = linear(self.body.width(), self.config.text.vocab_size, bias=True)

    @classmethod
    def possible_ties(cls, config: BaseConfig) -> dict[str, str]:
        return {"lm_loss.weight": f"{cls.base()}.{cls.body_class.tokens_of(config)}.weight"}

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.lm_loss(x)


class XLNetClassification(SequenceClassification):
    """A summary of one state, and one linear."""

    config: XLNetConfig
    pools = False

    def add_head(self) -> None:
        self.sequence_summary = ElectraSummary(self.config)
        self.logits_proj = linear(self.config.hidden_size, self.outputs(self.config), bias=True)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        kind = {"first": "cls"}.get(self.config.summary_type, self.config.summary_type)
        state = pool(x, whole(inputs).get("attention_mask"), kind)
        return self.logits_proj(self.sequence_summary(state))


class XLNetMultipleChoice(XLNetClassification, MultipleChoice):
    """The same, with one score for each choice."""
