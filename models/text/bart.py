"""BART (Lewis et al. 2019), and the body of mBART, PEGASUS, Marian, M2M-100 and Blenderbot.

They are one architecture with switches: where the norms are, and what positions look like.
Reference: transformers `modeling_bart.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.cross_decoder import TransformerBlock, walk_of
from tfcli.models.blocks.run import run_blocks
from tfcli.models.configs.bart import Seq2SeqConfig
from tfcli.models.context import Context
from tfcli.models.encoder_decoder import EncoderDecoder
from tfcli.models.layers.embeddings import Embedding, check_length, embed_inputs
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.sinusoidal import SinusoidalPositions

_EPS = 1e-5


class LearnedPositions(Embedding):
    """A table of positions whose first rows are left for other uses.

    Args:
        positions: how many there are.
        size: d.
        offset: rows before that of position 0.
    """

    def __init__(self, positions: int, size: int, offset: int) -> None:
        super().__init__(positions + offset, size)
        self.offset = offset

    def forward(self, position_ids: torch.Tensor) -> torch.Tensor:
        """position_ids (Tensor): [b or 1, s] -> [b or 1, s, d]"""
        return super().forward(position_ids + self.offset)


class BartStack(Backbone[Seq2SeqConfig]):
    """The encoder or the decoder: embeddings, blocks and norms.

    Args:
        config: of the family.
        body: the backbone's class, which has the switches.
        attention: name of the attention backend.
        decoder: which of the two.
    """

    def __init__(
        self, config: Seq2SeqConfig, body: type[BartModel], attention: str, *, decoder: bool
    ) -> None:
        super().__init__(config, attention)
        size = config.hidden_size
        self.body = body
        self.called = "decoder_input_ids" if decoder else "input_ids"
        self.scale = body.scale(config)
        self.limit = config.max_position_embeddings
        self.padding = config.pad_token_id
        self.layer_drop = config.decoder_layerdrop if decoder else config.encoder_layerdrop
        rows = config.decoder_rows if decoder else config.vocab_size
        self.embed_tokens = Embedding(rows, size, config.pad_token_id)
        self.embed_positions = body.make_positions(config)
        self.layers = nn.ModuleList(
            TransformerBlock(
                size,
                config.decoder_attention_heads if decoder else config.num_attention_heads,
                config.decoder_ffn_dim if decoder else config.encoder_ffn_dim,
                layer=layer,
                decoder=decoder,
                norm_first=body.norm_first,
                key_bias=body.key_bias,
                act=config.activation_function,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                activation_dropout=config.activation_dropout,
                backend=attention,
            )
            for layer in range(config.decoder_layers if decoder else config.num_hidden_layers)
        )
        self.layernorm_embedding = layer_norm(size, _EPS) if body.norms_embeddings else None
        self.layer_norm = layer_norm(size, _EPS) if body.norm_first else None
        self.dropout = nn.Dropout(config.dropout)
        self.walk = walk_of("layers", decoder=decoder)

    def embed(self, **inputs: Any) -> torch.Tensor:
        """Rows of the table times the scale. Embeddings of the caller are taken as they are."""
        x = embed_inputs(self.embed_tokens, **inputs, where=self.called)
        return x if inputs.get("inputs_embeds") is not None else x * self.scale

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        check_length(context, self.limit)
        places = self.body.places(context.inputs.get("input_ids"), context, self.padding)
        x = x + self.embed_positions(places).to(x.dtype)
        if self.layernorm_embedding is not None:
            x = self.layernorm_embedding(x)
        x = run_blocks(self.layers, self.dropout(x), context, layer_drop=self.layer_drop)
        return context.finished(x if self.layer_norm is None else self.layer_norm(x))


class BartModel(EncoderDecoder[Seq2SeqConfig]):
    """A token table, an encoder and a decoder.

    Class attributes:
        norm_first: each part of a block is normed before it runs, and the stack at the end; else
            each part is normed after what it has added.
        norms_embeddings: the sum of words and positions is normed too.
        stack_class: of the encoder and the decoder.
        key_bias: projections of keys have a bias.
    """

    prefix = "model"
    lists = ("encoder.layers", "decoder.layers")
    logits_bias = True
    ignorable: ClassVar[dict[str, str]] = {
        r"(^|\.)(encoder|decoder)\.version$": "the number of an old file format",
    }
    norm_first: ClassVar[bool] = False
    norms_embeddings: ClassVar[bool] = True
    stack_class: ClassVar[type[BartStack]] = BartStack
    key_bias: ClassVar[bool] = True

    def __init__(self, config: Seq2SeqConfig, attention: str) -> None:
        super().__init__(config, attention)
        self.add_table()
        self.encoder = self.make_encoder()
        self.decoder = self.stack_class(config, type(self), attention, decoder=True)

    def add_table(self) -> None:
        """Make the table that both stacks share."""
        config = self.config
        self.shared = Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)

    def make_encoder(self) -> Backbone[Any]:
        """The stack that reads."""
        return self.stack_class(self.config, type(self), self.attention, decoder=False)

    @classmethod
    def scale(cls, config: Seq2SeqConfig) -> float:
        """What rows of the token table are multiplied by."""
        return math.sqrt(config.hidden_size) if config.scale_embedding else 1.0

    @classmethod
    def make_positions(cls, config: Seq2SeqConfig) -> nn.Module:
        """The layer that turns `places` [b or 1, s] into [b or 1, s, d]."""
        return LearnedPositions(config.max_position_embeddings, config.hidden_size, offset=2)

    @classmethod
    def places(
        cls, input_ids: torch.Tensor | None, context: Context, padding: int | None
    ) -> torch.Tensor:
        """What the position layer is asked for.

        Args:
            input_ids (Tensor): [b, s], or None where embeddings are given.
            context: of the stack.
            padding: id of the padding token.

        Returns:
            int64 [b or 1, s]
        """
        return context.positions

    def default(self, name: str) -> torch.Tensor | None:
        """A computed table of positions."""
        owner = self.get_submodule(name.rpartition(".")[0])
        return owner.table() if isinstance(owner, SinusoidalPositions) else None
