"""ESM-1b and ESM-2 (Rives et al. 2021, Lin et al. 2023): pre-norm encoders of proteins.

Reference: transformers `modeling_esm.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.encoder import Intermediate, SelfAttention
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.config import BaseConfig
from tfcli.models.configs.esm import EsmConfig
from tfcli.models.context import Context
from tfcli.models.layers.embeddings import Embedding, check_length
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.rotary import Rotary, Rotation
from tfcli.models.rules import OldName
from tfcli.models.text.bert import BertModel
from tfcli.models.text.roberta import RobertaMaskedLM, RobertaPredictions

_END = 2  # the token that ends a protein
_KEPT = 1 - 0.15 * 0.8  # of the words of a text in pretraining: those that were not masked


class EsmFrequencies(nn.Module):
    """The frequencies of rotary positions. They are stored, since released ones are rounded."""

    def __init__(self, config: EsmConfig) -> None:
        super().__init__()
        self.register_buffer("inv_freq", torch.empty(config.head_dim // 2))


class EsmRotary(Rotary):
    """Rotary positions by stored frequencies, in float32.

    Args:
        config: of the family.
        stored: the frequencies.
    """

    def __init__(self, config: EsmConfig, stored: EsmFrequencies) -> None:
        rope = {"rope_type": "default", "rope_theta": config.rope_theta}
        super().__init__(rope, config.head_dim, config.max_position_embeddings)
        self.stored = stored

    def frequencies(self, position_ids: torch.Tensor) -> torch.Tensor:
        """See `Rotary.frequencies`."""
        return self.stored.get_buffer("inv_freq").float()

    def exact(self) -> torch.Tensor:
        """What they are where a checkpoint has none: [head_dim / 2]"""
        return super().frequencies(torch.zeros(1, 1, dtype=torch.long))

    def turn(self, x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
        """See `Rotary.turn`."""
        return super().turn(x.float(), rotation).to(x.dtype)


class EsmEmbeddings(nn.Module):
    """Words, scaled by how many are masked; learned positions; a norm: as the config says."""

    def __init__(self, config: EsmConfig) -> None:
        super().__init__()
        size, padding = config.hidden_size, config.pad_token_id
        self.word_embeddings = Embedding(config.vocab_size, size, padding)
        rows, eps = config.max_position_embeddings, config.layer_norm_eps
        self.position_embeddings = None if config.rotary else Embedding(rows, size, padding)
        self.layer_norm = layer_norm(size, eps) if config.emb_layer_norm_before else None
        self.mask = config.mask_token_id if config.token_dropout else None
        self.first_position = (padding or 0) + 1

    def forward(self, x: torch.Tensor, ids: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the words, ids (Tensor): [b, s] -> [b, s, d]"""
        if self.mask is not None:
            masked = ids == self.mask
            scale = _KEPT / (1 - share_of(masked, context))
            x = (x.masked_fill(masked[..., None], 0) * scale[..., None]).to(x.dtype)
        if self.position_embeddings is not None:
            check_length(context, self.position_embeddings.num_embeddings - self.first_position)
            x = x + self.position_embeddings(context.positions + self.first_position)
        return x if self.layer_norm is None else self.layer_norm(x)


def share_of(masked: torch.Tensor, context: Context) -> torch.Tensor:
    """The share of each token's text that is masked.

    Args:
        masked (Tensor): bool [b, s]
        context: of the forward pass.

    Returns:
        float32 [b, s], or [b, 1] where a row is one text
    """
    padding, segments = context.sight.padding, context.sight.segments
    if segments is not None:
        together = segments[:, :, None] == segments[:, None]
        return (together & masked[:, None]).sum(-1) / together.sum(-1)
    length = masked.shape[1] if padding is None else padding.sum(-1, keepdim=True).clamp(min=1)
    return masked.sum(-1, keepdim=True) / length


class EsmOutput(nn.Module):
    """A linear and dropout: the end of both halves of a block."""

    divides = True

    def __init__(self, in_size: int, config: EsmConfig) -> None:
        super().__init__()
        self.dense = linear(in_size, config.hidden_size, bias=True)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, in_size] -> [b, s, d]"""
        return self.dropout(self.dense(x))


class EsmAttention(nn.Module):
    """x + attention(norm(x))."""

    def __init__(self, config: EsmConfig, rotary: EsmRotary | None, attention: str) -> None:
        super().__init__()
        size, dropout = config.hidden_size, config.attention_probs_dropout_prob
        heads = config.num_attention_heads
        self.self = SelfAttention(size, heads, dropout, attention, rotary=rotary)
        self.output = EsmOutput(size, config)
        self.LayerNorm = layer_norm(size, config.layer_norm_eps)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return x + self.output(self.self(self.LayerNorm(x), context))


class EsmBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: EsmConfig, rotary: EsmRotary | None, attention: str) -> None:
        super().__init__()
        size, inner = config.hidden_size, config.intermediate_size
        self.attention = EsmAttention(config, rotary, attention)
        self.LayerNorm = layer_norm(size, config.layer_norm_eps)
        self.intermediate = Intermediate(size, inner, "gelu")
        self.output = EsmOutput(inner, config)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = self.attention(x, context)
        return x + self.output(self.intermediate(self.LayerNorm(x)))


class EsmContactHead(nn.Module):
    """Which residues touch, by a regression on the attention weights of all layers."""

    def __init__(self, config: EsmConfig) -> None:
        super().__init__()
        weights = config.num_hidden_layers * config.num_attention_heads
        self.regression = linear(weights, 1, bias=True)

    def forward(self, weights: torch.Tensor) -> torch.Tensor:
        """weights (Tensor): [b, layers * heads, s, s] -> probabilities [b, s, s]"""
        weights = weights + weights.transpose(-1, -2)
        rows, columns = weights.sum(-1, keepdim=True), weights.sum(-2, keepdim=True)
        # What a residue has with all others says nothing of one (average product correction).
        weights = weights - rows * columns / weights.sum((-1, -2), keepdim=True)
        return torch.sigmoid(self.regression(weights.permute(0, 2, 3, 1))[..., 0])


class EsmModel(Backbone[EsmConfig]):
    """Embeddings, blocks and a norm. `inputs_embeds` are taken with positions and all."""

    prefix = "esm"
    tokens = "embeddings.word_embeddings"
    optional = ("pooler.", "contact_head.")
    rules = (
        *BertModel.rules,
        # Every layer of an older file has the same frequencies.
        OldName(r"encoder\.layer\.(0|\*)\.attention\.self\.rotary_embed", "rotary_embed"),
    )
    ignorable: ClassVar[dict[str, str]] = BertModel.ignorable | {
        r"layer\.[1-9]\d*\.attention\.self\.rotary_embeddings\.": "the first layer has the same",
    }
    walk = CalibrationWalk(
        blocks="encoder.layer",
        groups=(
            ("attention.self.query", "attention.self.key", "attention.self.value"),
            ("attention.output.dense",),
            ("intermediate.dense",),
            ("output.dense",),
        ),
    )

    def __init__(self, config: EsmConfig, attention: str) -> None:
        super().__init__(config, attention)
        self.embeddings = EsmEmbeddings(config)
        self.rotary_embeddings = EsmFrequencies(config) if config.rotary else None
        stored = self.rotary_embeddings
        self.rotary = None if stored is None else EsmRotary(config, stored)
        blocks = (EsmBlock(config, self.rotary, attention) for _ in range(config.num_hidden_layers))
        norm = layer_norm(config.hidden_size, config.layer_norm_eps)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(blocks), "emb_layer_norm_after": norm})
        self.contact_head = EsmContactHead(config)

    @classmethod
    def ignorable_for(cls, config: BaseConfig) -> dict[str, str]:
        assert isinstance(config, EsmConfig)
        if not config.rotary:
            return cls.ignorable
        return cls.ignorable | {r"embeddings\.position_embeddings\.": "positions are rotary"}

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        ids = context.inputs.get("input_ids")
        if ids is not None:
            x = self.embeddings(x, ids, context)
        blocks = self.encoder["layer"]
        assert isinstance(blocks, nn.ModuleList)
        x = run_blocks(blocks, x, context)
        return context.finished(self.encoder["emb_layer_norm_after"](x))

    def contacts(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """How likely each two residues of a protein touch.

        Args:
            input_ids (Tensor): [b, s], with a token at either end.
            attention_mask (Tensor): [b, s] of 0/1, or None.

        Returns:
            [b, s - 2, s - 2]
        """
        x, context = self.begin(
            {"input_ids": input_ids}, attention_mask=attention_mask, output_attentions=True
        )
        self(x, context)
        assert context.attentions is not None
        real = input_ids != _END
        if attention_mask is not None:
            real = real & attention_mask.bool()
        both = (real[:, :, None] & real[:, None])[:, None]
        weights = torch.cat(context.attentions, 1) * both
        return self.contact_head(weights[..., 1:-1, 1:-1])

    def default(self, name: str) -> torch.Tensor | None:
        if name == "rotary_embeddings.inv_freq" and self.rotary is not None:
            return self.rotary.exact()
        return None


class EsmPredictions(RobertaPredictions):
    """RoBERTa's, with the bias beside the decoder."""

    def __init__(self, config: EsmConfig) -> None:
        super().__init__(config)
        self.decoder = linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, vocab]"""
        return super().forward(x) + self.bias


class EsmMaskedLM(RobertaMaskedLM):
    """ESM's masked-language-model head."""

    config: EsmConfig

    def add_head(self) -> None:
        self.lm_head = EsmPredictions(self.config)

    @classmethod
    def possible_ties(cls, config: BaseConfig) -> dict[str, str]:
        ties = super().possible_ties(config)
        return {name: ties[name] for name in ties if name.endswith("weight")}
