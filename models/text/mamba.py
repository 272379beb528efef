"""Mamba (Gu and Dao 2023): a selective state space in place of attention and mlp.

Reference: transformers `modeling_mamba.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.mamba import MambaConfig, StateSpaceConfig
from tfcli.models.context import Context
from tfcli.models.folding import Fold, after_norm
from tfcli.models.layers.embeddings import Embedding
from tfcli.models.layers.mamba import MambaMixer
from tfcli.models.layers.norms import RMSNorm
from tfcli.models.rules import OldName


class MambaBlock(nn.Module):
    """x + mixer(norm(x)).

    Args:
        mixer: [b, s, d] and the context -> [b, s, d]
        config: the family's.
    """

    def __init__(self, mixer: nn.Module, config: StateSpaceConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.mixer = mixer
        self.wide = config.residual_in_fp32

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        out = self.mixer(self.norm(x.to(self.norm.weight.dtype)), context)
        return (x.float() if self.wide else x) + out

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield from after_norm("norm", {"mixer": self.mixer})


class MambaModel(Backbone[StateSpaceConfig]):
    """Embeddings, blocks, final norm."""

    prefix = "backbone"
    tokens = "embeddings"
    rules = (OldName(r"\bembedding\.weight$", "embeddings.weight"),)
    packs = False  # the state runs through the whole row
    walk = CalibrationWalk(
        blocks="layers",
        groups=(("mixer.in_proj",), ("mixer.x_proj",), ("mixer.dt_proj",), ("mixer.out_proj",)),
    )

    def __init__(self, config: StateSpaceConfig, attention: str) -> None:
        super().__init__(config, attention)
        self.embeddings = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            MambaBlock(self.make_mixer(layer), config) for layer in range(config.num_hidden_layers)
        )
        self.norm_f = RMSNorm(config.hidden_size, config.layer_norm_epsilon)

    def make_mixer(self, layer: int) -> nn.Module:
        """One layer's state space."""
        config = self.config
        assert isinstance(config, MambaConfig)
        return MambaMixer(
            config.hidden_size,
            config.intermediate_size,
            int(config.time_step_rank),
            config.state_size,
            kernel=config.conv_kernel,
            bias=config.use_bias,
            conv_bias=config.use_conv_bias,
            act=config.hidden_act,
            layer=layer,
        )

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        x = run_blocks(self.layers, x, context)
        return context.finished(self.norm_f(x.to(self.norm_f.weight.dtype)))

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        """Decays of 1 to n: the states of a new state space remember for unlike times."""
        if name.endswith("A_log"):
            return torch.arange(1, shape[-1] + 1, dtype=torch.float32).log().expand(shape).clone()
        if name.endswith("mixer.D"):
            return torch.ones(shape)
        return None

    def drawn(self, name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor | None:
        """Steps of 0.001 to 0.1, and matrices that neither blow these up nor the stream."""
        config = self.config
        if name.endswith(("dt_proj.bias", "dt_bias")):
            # Alike on a logarithmic scale, and unrelated to the decays.
            low, high = math.log(config.time_step_min), math.log(config.time_step_max)
            step = (low + (high - low) * torch.rand(shape, generator=random)).exp()
            step.clamp_(min=config.time_step_floor)
            return step + torch.log(-torch.expm1(-step))  # the inverse of softplus
        if name.endswith("dt_proj.weight"):
            assert isinstance(config, MambaConfig)
            bound = config.time_step_scale * int(config.time_step_rank) ** -0.5
            if config.time_step_init_scheme == "constant":
                return torch.full(shape, bound)
            return torch.empty(shape).uniform_(-bound, bound, generator=random)
        if name.endswith(("conv1d.weight", "out_proj.weight")):
            bound = math.prod(shape[1:]) ** -0.5
            if name.endswith("out_proj.weight") and config.rescale_prenorm_residual:
                bound /= math.sqrt(config.num_hidden_layers)
            return torch.empty(shape).uniform_(-bound, bound, generator=random)
        return None
