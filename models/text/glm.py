"""GLM (Du et al. 2022): one transformer that reads a prefix on both sides and fills in blanks.

Reference: the GLM paper and FlagAI's `glm_model.py`; names of modules and parameters are those of
the published checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.run import run_blocks
from tfcli.models.caches.layers import KeyValueLayer
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.glm import GLMConfig
from tfcli.models.context import Context
from tfcli.models.errors import ModelError
from tfcli.models.folding import Fold, after_norm, span
from tfcli.models.heads.sequence_classification import whole
from tfcli.models.layers.activations import activation
from tfcli.models.layers.attention import Attend, split_heads
from tfcli.models.layers.embeddings import Embedding, check_ids
from tfcli.models.layers.linear import linear
from tfcli.models.layers.masks import AttentionMask, open_empty_rows
from tfcli.models.layers.norms import layer_norm
from tfcli.models.losses import classification_loss
from tfcli.models.model import Model
from tfcli.models.rules import OldName


class GLMAttention(KeyValueLayer):
    """Multi-head attention; queries, keys and values come from one linear."""

    def __init__(self, config: GLMConfig, layer: int, attention: str) -> None:
        super().__init__()
        size = config.hidden_size
        self.head_dim = config.head_dim
        self.layer = layer
        self.query_key_value = linear(size, 3 * size, bias=True)
        self.dense = linear(size, size, bias=True)
        # config.attention_scale divides scores in half precision and is multiplied back before
        # the softmax; scores are float32 here, so it changes nothing.
        self.attend = Attend(attention, self.head_dim**-0.5, config.attention_dropout_prob)
        self.output_dropout = nn.Dropout(config.output_dropout_prob)

    def forward(
        self, x: torch.Tensor, context: Context, mask: AttentionMask, memory: torch.Tensor | None
    ) -> torch.Tensor:
        """Attend from the new positions to the memory, the cached and the new positions.

        Args:
            x (Tensor): [b, s, d]
            context: of the forward pass.
            mask: which keys each query sees, those of the memory first.
            memory (Tensor): [b, m, d], earlier inputs of this layer, or None.

        Returns:
            [b, s, d]
        """
        length = x.shape[1]
        whole_input = x if memory is None else torch.cat((memory, x), dim=1)
        query, key, value = (
            split_heads(part, self.head_dim)
            for part in self.query_key_value(whole_input).chunk(3, dim=-1)
        )
        key, value = context.remember(self.layer, key, value)
        out = self.attend(query[:, :, -length:], key, value, mask, context.attentions)
        return self.output_dropout(self.dense(out))

    reads = ("query_key_value",)  # see `folding`

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        size = self.query_key_value.get_parameter("weight").shape[0] // 3
        yield Fold("query_key_value", ("dense",), span(2 * size, 3 * size))


class GLMMLP(nn.Module):
    """Two linears with a GELU between."""

    reads = ("dense_h_to_4h",)  # see `folding`

    def __init__(self, config: GLMConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = linear(config.hidden_size, config.intermediate_size, bias=True)
        self.dense_4h_to_h = linear(config.intermediate_size, config.hidden_size, bias=True)
        self.act = activation("gelu_new")
        self.dropout = nn.Dropout(config.output_dropout_prob)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return self.dropout(self.dense_4h_to_h(self.act(self.dense_h_to_4h(x))))


class GLMBlock(nn.Module):
    """One layer. The memory goes through the same norm as the input."""

    def __init__(self, config: GLMConfig, layer: int, attention: str) -> None:
        super().__init__()
        self.layer = layer
        self.input_layernorm = layer_norm(config.hidden_size, config.layernorm_epsilon)
        self.attention = GLMAttention(config, layer, attention)
        self.post_attention_layernorm = layer_norm(config.hidden_size, config.layernorm_epsilon)
        self.mlp = GLMMLP(config)

    def forward(
        self,
        x: torch.Tensor,
        context: Context,
        mask: AttentionMask,
        mems: Sequence[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        memory = None if mems is None else self.input_layernorm(mems[self.layer])
        x = x + self.attention(self.input_layernorm(x), context, mask, memory)
        return x + self.mlp(self.post_attention_layernorm(x))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield from after_norm("input_layernorm", {"attention": self.attention})
        yield from after_norm("post_attention_layernorm", {"mlp": self.mlp})


class GLMStack(nn.Module):
    """Position tables, blocks, final norm."""

    def __init__(self, config: GLMConfig, attention: str) -> None:
        super().__init__()
        self.position_embeddings = Embedding(config.positions, config.hidden_size)
        if config.block_position_encoding:
            self.block_position_embeddings = Embedding(config.positions, config.hidden_size)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout_prob)
        self.layers = nn.ModuleList(
            GLMBlock(config, layer, attention) for layer in range(config.num_hidden_layers)
        )
        self.final_layernorm = layer_norm(config.hidden_size, config.layernorm_epsilon)


class GLMModel(Backbone[GLMConfig]):
    """Word and position embeddings, blocks, final norm."""

    prefix = "glm"
    tokens = "word_embeddings"
    inputs = ("prefix_lengths", "visible", "mems")
    packs = False  # positions of blanks refer to the row
    rules = (OldName(r"^model\.(?=word_embeddings|transformer)", "glm."),)
    walk = CalibrationWalk(
        blocks="transformer.layers",
        groups=(
            ("attention.query_key_value",),
            ("attention.dense",),
            ("mlp.dense_h_to_4h",),
            ("mlp.dense_4h_to_h",),
        ),
    )

    def __init__(self, config: GLMConfig, attention: str) -> None:
        super().__init__(config, attention)
        self.blocks_counted = config.block_position_encoding
        self.word_embeddings = Embedding(config.vocab_size, config.hidden_size)
        self.transformer = GLMStack(config, attention)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]

        The context may have:
            prefix_lengths (Tensor): [b] or one number, counted from where the row begins, with
                what a cache holds. Tokens before it see each other, the rest what is before them.
                FlagAI calls it `sep`.
            visible (Tensor): [b or 1, 1, s, m + cached + s] of 0/1, a mask to use as it is, in
                place of the others.
            mems: the embeddings and each layer's outputs of earlier tokens, [b, m, d] each. They
                are seen by every query. (A cache does the same, and computes less.)
        """
        visible = context.inputs.get("visible")
        mems: Sequence[torch.Tensor] | None = context.inputs.get("mems")
        x = self.transformer.embedding_dropout(x + self.positions(context))
        memory = self.memory_length(context, mems)
        if visible is None:
            mask = self.mask(context, memory)
        else:
            mask = self.given_mask(context, x.shape[0], visible, memory)
        x = run_blocks(self.transformer.layers, x, context, mask, mems)
        return context.finished(self.transformer.final_layernorm(x))

    def groups_of(self, x: torch.Tensor, context: Context) -> torch.Tensor | None:
        """The prefix is one group; tokens after it see it because it is before them.

        Raises:
            ModelError: as many prefixes as rows are not given.
        """
        given = context.inputs.get("prefix_lengths")
        if given is None:
            return None
        lengths = torch.as_tensor(given, device=x.device).reshape(-1, 1)
        if lengths.shape[0] not in (1, x.shape[0]):
            raise ModelError(
                f"prefix_lengths has {lengths.shape[0]} numbers, expected {x.shape[0]}"
            )
        return torch.where(context.places < lengths, 0, -1)

    def positions(self, context: Context) -> torch.Tensor:
        """The sum of the position tables' rows, [b or 1, s, d].

        `context.positions` is [b or 1, 2, s]: where in the prefix a token belongs, and where in
        its blank; or [b or 1, s], for text without blanks.
        """
        ids, queries = context.positions, context.sight.queries
        if ids.shape[1:] not in ((queries,), (2, queries)):
            shape = tuple(ids.shape)
            raise ModelError(f"position_ids has shape {shape}, expected [b, 2, {queries}]")
        tables = self.transformer
        ids, block_ids = (ids[:, 0], ids[:, 1]) if ids.ndim == 3 else (ids, torch.zeros_like(ids))
        check_ids(ids, tables.position_embeddings.num_embeddings, "position_ids")
        found = tables.position_embeddings(ids)
        if not self.blocks_counted:
            return found
        check_ids(block_ids, tables.block_position_embeddings.num_embeddings, "position_ids")
        return found + tables.block_position_embeddings(block_ids)

    def memory_length(self, context: Context, mems: Sequence[torch.Tensor] | None) -> int:
        """How many earlier tokens `mems` holds; 0 without.

        Raises:
            ModelError: too few layers, or a cache beside it.
        """
        if mems is None:
            return 0
        layers = len(self.transformer.layers)
        if len(mems) < layers:
            raise ModelError(f"mems has {len(mems)} layers, the model {layers}")
        if context.cache is not None:
            raise ModelError("mems and a cache do not go together", fix="leave one out")
        return mems[0].shape[1]

    def given_mask(
        self, context: Context, batch: int, visible: torch.Tensor, memory: int
    ) -> AttentionMask:
        """The caller's own mask, cut to the last keys where it has more columns than there are."""
        queries = context.sight.queries
        keys = memory + context.key_places(0).shape[0]
        shape = tuple(visible.shape)
        if len(shape) != 4 or shape[:3] not in ((batch, 1, queries), (1, 1, queries)):
            raise ModelError(f"visible has shape {shape}, expected {(batch, 1, queries, keys)}")
        if shape[3] < keys:
            raise ModelError(f"visible has {shape[3]} columns, but there are {keys} keys")
        return AttentionMask(open_empty_rows(visible[..., -keys:].bool()))

    def mask(self, context: Context, memory: int) -> AttentionMask:
        """Which keys each query sees; the same in all layers, and all of the memory."""
        mask = context.causal(0)
        if memory == 0:
            return mask
        queries = context.sight.queries
        seen = mask.visible(queries, queries, context.sight.device)
        if seen is None:
            seen = torch.ones(1, 1, queries, queries, dtype=torch.bool, device=context.sight.device)
        return AttentionMask(nn.functional.pad(seen, (memory, 0), value=True))

    def init_std(self, name: str) -> float:
        """Projections into the residual stream start smaller, by the square root of their count."""
        std = self.config.initializer_range
        if name.endswith(("attention.dense.weight", "dense_4h_to_h.weight")):
            return std / math.sqrt(2 * self.config.num_hidden_layers)
        return std


class GLMSequenceClassification(Model):
    """A linear, tanh and a linear on one state of each row. Logits [b, labels].

    config.pool_token says which state: `cls` the first token's, `pad` the last token's of the
    prefix, `start` that of the token after the prefix.
    """

    config: GLMConfig
    task = "sequence-classification"

    def add_head(self) -> None:
        config = self.config
        self.pool_layer = linear(config.hidden_size, config.hidden_size, bias=True)
        self.multichoice_dropout = nn.Dropout(config.head_dropout)
        self.multichoice_head = linear(config.hidden_size, config.num_labels, bias=True)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        config = self.config
        lengths = whole(inputs).get("prefix_lengths")
        if config.pool_token == "cls":
            state = x[:, 0]
        elif lengths is None:
            raise ModelError(
                f"pool_token={config.pool_token!r} needs prefix_lengths",
                fix="give the length of each row's prefix",
            )
        else:
            at = lengths.reshape(-1).expand(len(x)) - int(config.pool_token == "pad")
            state = x[torch.arange(len(x), device=x.device), at]
        state = self.multichoice_dropout(torch.tanh(self.pool_layer(state)))
        return self.multichoice_head(state)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, **more: Any) -> torch.Tensor:
        return classification_loss(logits, labels, self.config.problem_type, **more)
