"""wav2vec2 (Baevski et al. 2020): convolutions over a wave, then a transformer over their states.

Reference: transformers `modeling_wav2vec2.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.cross_decoder import Attention
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.wav2vec2 import Wav2Vec2Config
from tfcli.models.context import Context
from tfcli.models.errors import ModelError
from tfcli.models.layers.activations import activation
from tfcli.models.layers.convolution import Conv1d, without_padding
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.spec_augment import hidden_features, hidden_times
from tfcli.models.rules import OldName


class ConvLayer(nn.Module):
    """A convolution, a norm or none, an activation.

    Args:
        config: gives the sizes.
        layer: index of the layer.
    """

    def __init__(self, config: Wav2Vec2Config, layer: int) -> None:
        super().__init__()
        size = config.conv_dim[layer]
        self.conv = Conv1d(
            config.conv_dim[layer - 1] if layer else 1,
            size,
            config.conv_kernel[layer],
            config.conv_stride[layer],
            bias=config.conv_bias,
        )
        self.over_channels = config.feat_extract_norm == "layer"
        self.layer_norm: nn.Module | None = None
        if self.over_channels:
            self.layer_norm = layer_norm(size, 1e-5)
        elif layer == 0:
            self.layer_norm = nn.GroupNorm(size, size)  # of each channel by itself, over time
        self.act = activation(config.feat_extract_activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, in, s] -> [b, out, s / stride, about]"""
        x = self.conv(x)
        if self.layer_norm is not None:
            turned = x.transpose(1, 2) if self.over_channels else x
            turned = self.layer_norm(turned)
            x = turned.transpose(1, 2) if self.over_channels else turned
        return self.act(x)


class FeatureExtractor(nn.Module):
    """The convolutions."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(
            ConvLayer(config, layer) for layer in range(len(config.conv_dim))
        )

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        """wave (Tensor): [b, n] -> [b, s, conv_dim]"""
        x = wave[:, None]
        for layer in self.conv_layers:
            x = layer(x)
        return x.transpose(1, 2)


class FeatureProjection(nn.Module):
    """A norm, and a linear to the transformer's width."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.layer_norm = layer_norm(config.conv_dim[-1], config.layer_norm_eps)
        self.projection = linear(config.conv_dim[-1], config.hidden_size, bias=True)
        self.dropout = nn.Dropout(config.feat_proj_dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, conv_dim] -> [b, s, d]"""
        return self.dropout(self.projection(self.layer_norm(x)))


class WeightNorm(nn.Module):
    """A kernel as a length for each of its places and a direction (Salimans and Kingma 2016).

    Names are those of torch's parametrization.

    Args:
        shape: [out, in, kernel]
    """

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.original0 = nn.Parameter(torch.empty(1, 1, shape[-1]))
        self.original1 = nn.Parameter(torch.empty(shape))

    def forward(self) -> torch.Tensor:
        """The kernel."""
        return torch._weight_norm(self.original1, self.original0, 2)


class NormedConv(nn.Module):
    """A grouped convolution that keeps the length, with `WeightNorm`.

    Args:
        size: d.
        kernel: places.
        groups: of channels.
    """

    def __init__(self, size: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(size))
        self.parametrizations = nn.ModuleDict({"weight": WeightNorm(size, size // groups, kernel)})
        self.kernel, self.groups = kernel, groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, d, s] -> [b, d, s]"""
        weight = self.parametrizations["weight"]()
        out = F.conv1d(x, weight, self.bias, padding=self.kernel // 2, groups=self.groups)
        return out[..., : x.shape[-1]]  # with an even kernel there is one place more


class PositionalConv(nn.Module):
    """Positions, as a convolution over the surroundings of each state sees them."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.conv = NormedConv(
            config.hidden_size,
            config.num_conv_pos_embeddings,
            config.num_conv_pos_embedding_groups,
        )
        self.act = activation(config.feat_extract_activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return self.act(self.conv(x.transpose(1, 2))).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linears with an activation between."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        size, inner = config.hidden_size, config.intermediate_size
        self.intermediate_dense = linear(size, inner, bias=True)
        self.output_dense = linear(inner, size, bias=True)
        self.act = activation(config.hidden_act)
        self.intermediate_dropout = nn.Dropout(config.activation_dropout)
        self.output_dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = self.intermediate_dropout(self.act(self.intermediate_dense(x)))
        return self.output_dropout(self.output_dense(x))


class Block(nn.Module):
    """Attention and an mlp, each normed before it, or each sum after it."""

    def __init__(self, config: Wav2Vec2Config, layer: int, attention: str) -> None:
        super().__init__()
        size = config.hidden_size
        self.norm_first = config.do_stable_layer_norm
        self.attention = Attention(
            size,
            config.num_attention_heads,
            size // config.num_attention_heads,
            layer=layer,
            causal=False,
            backend=attention,
            dropout=config.attention_dropout,
        )
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layer_norm = layer_norm(size, config.layer_norm_eps)
        self.feed_forward = FeedForward(config)
        self.final_layer_norm = layer_norm(size, config.layer_norm_eps)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        if self.norm_first:
            x = x + self.dropout(self.attention(self.layer_norm(x), context))
            return x + self.feed_forward(self.final_layer_norm(x))
        x = self.layer_norm(x + self.dropout(self.attention(x, context)))
        return self.final_layer_norm(x + self.feed_forward(x))


class Encoder(nn.Module):
    """Positions, a norm before or after the blocks, and the blocks."""

    def __init__(self, config: Wav2Vec2Config, attention: str) -> None:
        super().__init__()
        self.norm_first, self.layer_drop = config.do_stable_layer_norm, config.layerdrop
        self.pos_conv_embed = PositionalConv(config)
        self.layer_norm = layer_norm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(
            Block(config, layer, attention) for layer in range(config.num_hidden_layers)
        )

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = without_padding(x, context)
        x = x + self.pos_conv_embed(x)
        x = self.dropout(x if self.norm_first else self.layer_norm(x))
        x = run_blocks(self.layers, x, context, layer_drop=self.layer_drop)
        if not self.norm_first:
            return context.finished(x)
        # The states of the last block are recorded as they are before the norm.
        return self.layer_norm(context.finished(x))


class Wav2Vec2Model(Backbone[Wav2Vec2Config]):
    """Convolutions, a projection, and an encoder."""

    prefix = "wav2vec2"
    main = "input_values"
    packs = False
    optional = ("masked_spec_embed",)
    rules = (
        OldName(r"conv\.weight_g$", "conv.parametrizations.weight.original0"),
        OldName(r"conv\.weight_v$", "conv.parametrizations.weight.original1"),
    )
    ignorable: ClassVar[dict[str, str]] = {
        r"^(quantizer|project_q|project_hid)\.": "part of the head that pretrains",
    }
    walk = CalibrationWalk(
        blocks="encoder.layers",
        groups=(
            ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
            ("attention.out_proj",),
            ("feed_forward.intermediate_dense",),
            ("feed_forward.output_dense",),
        ),
    )

    def __init__(self, config: Wav2Vec2Config, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.feature_extractor = FeatureExtractor(config)
        self.feature_projection = FeatureProjection(config)
        if config.hides:
            self.masked_spec_embed = nn.Parameter(torch.empty(config.hidden_size))
        self.encoder = Encoder(config, attention)

    def embed(
        self,
        *,
        input_values: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **inputs: Any,
    ) -> torch.Tensor:
        """Convolve and project a wave.

        Args:
            input_values (Tensor): [b, n], samples.
            inputs_embeds (Tensor): [b, s, d], what the projection gives.

        Returns:
            [b, s, d]

        Raises:
            ModelError: both or neither were given, or a wave that is too short for one state.
        """
        if (input_values is None) == (inputs_embeds is None):
            raise ModelError("give exactly one of input_values and inputs_embeds")
        if input_values is None:
            assert inputs_embeds is not None
            return inputs_embeds
        if input_values.ndim != 2 or self.config.states_of(input_values.shape[1]) < 1:
            raise ModelError(
                f"input_values has shape {tuple(input_values.shape)}, expected [b, n] with enough "
                "samples for one state",
                where="input_values",
            )
        dtype = self.encoder.layer_norm.weight.dtype
        return self.feature_projection(self.feature_extractor(input_values.to(dtype)))

    def mask_of(
        self, attention_mask: torch.Tensor | None, inputs: Mapping[str, Any], x: torch.Tensor
    ) -> torch.Tensor | None:
        """Which states are of the wave, [b, s]: as many as its samples give."""
        if attention_mask is None or attention_mask.shape[1] == x.shape[1]:
            return attention_mask
        lengths = self.config.states_of(attention_mask.sum(-1))
        places = torch.arange(x.shape[1], device=x.device)
        return (places < lengths[:, None]).long()

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        return self.encoder(self.hidden(x, context), context)

    def hidden(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Hide some of the states in training, where the config asks for it. Same shape."""
        config = self.config
        if not (self.training and config.apply_spec_augment):
            return x
        rows, places, size = x.shape
        if config.mask_time_prob > 0:
            times = hidden_times(config, rows, places, context.padding).to(x.device)
            x = torch.where(times[..., None], self.masked_spec_embed.to(x.dtype), x)
        if config.mask_feature_prob > 0:
            hidden = hidden_features(config, rows, size).to(x.device)
            x = x.masked_fill(hidden[:, None, :], 0)
        return x

    def _kernel_std(self) -> float:
        """Standard deviation of the kernel that sees positions."""
        config = self.config
        return 2 * (config.num_conv_pos_embeddings * config.hidden_size) ** -0.5

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        """The length of each place of that kernel, of so many normal numbers."""
        if not name.endswith("original0"):
            return None
        config = self.config
        count = config.hidden_size**2 // config.num_conv_pos_embedding_groups
        return torch.full(shape, self._kernel_std() * count**0.5)

    def drawn(self, name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor | None:
        """As transformers draws them: convolutions by their fan-in, projections in a box."""
        if name == "masked_spec_embed":
            return torch.rand(shape, generator=random)
        if name.endswith("original1"):
            return torch.empty(shape).normal_(0.0, self._kernel_std(), generator=random)
        if name.startswith("feature_extractor.") and len(shape) == 3:
            std = math.sqrt(2 / (shape[1] * shape[2]))
            return torch.empty(shape).normal_(0.0, std, generator=random)
        if name.startswith("feature_extractor.") and name.endswith("conv.bias"):
            layer = int(name.split(".")[2])
            inputs = self.config.conv_dim[layer - 1] if layer else 1
            bound = (inputs * self.config.conv_kernel[layer]) ** -0.5
            return torch.empty(shape).uniform_(-bound, bound, generator=random)
        if name.startswith("feature_projection.projection."):
            bound = self.config.conv_dim[-1] ** -0.5
            return torch.empty(shape).uniform_(-bound, bound, generator=random)
        return None
