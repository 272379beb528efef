"""ConvBERT (Jiang et al. 2020): ELECTRA, where half of the heads convolve with kernels that follow
from the text around them.

Reference: transformers `modeling_convbert.py`; names of modules and parameters are the same. There,
convolutions see padding, and so what a text gives depends on how it is padded; here they see zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.blocks.encoder import EncoderBlock
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.convbert import ConvBertConfig
from tfcli.models.context import Context
from tfcli.models.heads.embedding import pool
from tfcli.models.heads.sequence_classification import whole
from tfcli.models.layers.attention import Attend, split_heads
from tfcli.models.layers.convolution import convolve, neighbours, without_padding
from tfcli.models.layers.linear import linear
from tfcli.models.text.electra import ElectraModel, ElectraMultipleChoice
from tfcli.models.text.roberta import RobertaClassification, RobertaClassifier


class SeparableConvolution(nn.Module):
    """A convolution of each dimension by itself, then a linear.

    Args:
        in_size: dimensions of the input.
        out_size: dimensions of the output.
        kernel: positions that it sees.
    """

    def __init__(self, in_size: int, out_size: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(in_size, in_size, kernel, groups=in_size, bias=False)
        self.pointwise = nn.Conv1d(in_size, out_size, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_size, 1))

    def forward(self, x: torch.Tensor, segments: torch.Tensor | None) -> torch.Tensor:
        """x (Tensor): [b, s, in_size], zeros at padding -> [b, s, out_size]"""
        x = convolve(self.depthwise, x, segments)
        return F.linear(x, self.pointwise.weight[..., 0], self.bias[:, 0])


class MixedAttention(nn.Module):
    """Heads of attention beside heads of convolution, without the output projection."""

    def __init__(self, config: ConvBertConfig, attention: str) -> None:
        super().__init__()
        self.heads, self.head_dim = config.heads, config.head_dim
        self.kernel = config.conv_kernel_size
        size, half = config.hidden_size, config.heads * config.head_dim
        self.query = linear(size, half, bias=True)
        self.key = linear(size, half, bias=True)
        self.value = linear(size, half, bias=True)
        self.key_conv_attn_layer = SeparableConvolution(size, half, self.kernel)
        self.conv_kernel_layer = linear(half, self.heads * self.kernel, bias=True)
        self.conv_out_layer = linear(size, half, bias=True)
        self.attend = Attend(attention, self.head_dim**-0.5, config.attention_probs_dropout_prob)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        query = self.query(x)
        heads = (split_heads(part, self.head_dim) for part in (query, self.key(x), self.value(x)))
        attended = self.attend(*heads, context.full(), context.attentions)
        return torch.cat((attended, self.convolved(x, query, context)), dim=-1)

    def convolved(self, x: torch.Tensor, query: torch.Tensor, context: Context) -> torch.Tensor:
        """Mix each position's surroundings by weights that follow from them.

        Args:
            x (Tensor): [b, s, d]
            query (Tensor): [b, s, d / 2]
            context: of the forward pass.

        Returns:
            [b, s, d / 2]
        """
        segments = context.sight.segments
        values = without_padding(self.conv_out_layer(x), context)
        values = neighbours(values, self.kernel, segments)
        values = values.unflatten(2, (self.heads, self.head_dim))
        spans = self.key_conv_attn_layer(without_padding(x, context), segments)
        kernels = self.conv_kernel_layer(spans * query)
        kernels = kernels.unflatten(-1, (self.heads, self.kernel)).softmax(-1)
        return (values @ kernels[..., None]).flatten(2)


class GroupedLinear(nn.Module):
    """A linear whose inputs and outputs are split into groups that do not mix.

    Args:
        in_size: inputs.
        out_size: outputs.
        groups: a divisor of both.
    """

    def __init__(self, in_size: int, out_size: int, groups: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, in_size // groups, out_size // groups))
        self.bias = nn.Parameter(torch.empty(out_size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, in_size] -> [b, s, out_size]"""
        parts = x.unflatten(-1, self.weight.shape[:2])[..., None, :]
        return (parts @ self.weight).flatten(2) + self.bias


def make_block(config: ConvBertConfig, attention: str) -> EncoderBlock:
    """One layer."""
    size, inner, groups = config.hidden_size, config.intermediate_size, config.num_groups
    block = EncoderBlock(
        size,
        config.heads,
        inner,
        act=config.hidden_act,
        dropout=config.hidden_dropout_prob,
        attention_dropout=config.attention_probs_dropout_prob,
        eps=config.layer_norm_eps,
        backend=attention,
        attention=MixedAttention(config, attention),
    )
    if groups > 1:
        block.intermediate.dense = GroupedLinear(size, inner, groups)
        block.output.dense = GroupedLinear(inner, size, groups)
    return block


class ConvBertEncoder(nn.Module):
    """The blocks."""

    def __init__(self, config: ConvBertConfig, attention: str) -> None:
        super().__init__()
        self.layer = nn.ModuleList(
            make_block(config, attention) for _ in range(config.num_hidden_layers)
        )

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return run_blocks(self.layer, x, context)


class ConvBertModel(ElectraModel):
    """Embeddings, a linear that widens them, blocks."""

    config: ConvBertConfig

    prefix = "convbert"

    def __init__(self, config: ConvBertConfig, attention: str) -> None:
        super().__init__(config, attention)
        inner = "attention.self"
        groups: tuple[tuple[str, ...], ...] = (
            tuple(f"{inner}.{name}" for name in ("query", "key", "value", "conv_out_layer")),
            (f"{inner}.conv_kernel_layer",),
            ("attention.output.dense",),
        )
        if config.num_groups == 1:  # what is split into groups is no linear as others are
            groups = (*groups, ("intermediate.dense",), ("output.dense",))
        self.walk = CalibrationWalk("encoder.layer", groups)

    def make_encoder(self) -> nn.Module:
        return ConvBertEncoder(self.config, self.attention)


class ConvBertClassification(RobertaClassification):
    """RoBERTa's classifier with the config's activation."""

    config: ConvBertConfig

    def add_head(self) -> None:
        self.classifier = RobertaClassifier(self.config, self.config.hidden_act)


class ConvBertMultipleChoice(ElectraMultipleChoice):
    """ELECTRA's, on the state that the config names; the last one by default."""

    config: ConvBertConfig

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        kind = {"first": "cls"}.get(self.config.summary_type, self.config.summary_type)
        state = pool(x, whole(inputs).get("attention_mask"), kind)
        return self.classifier(self.sequence_summary(state))
