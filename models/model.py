"""The base class of every model: what loading, saving, training and calibration ask of it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.config import ModelConfig
from tfcli.models.rules import Rule


class Model(nn.Module):
    """A family's model with a head.

    Class attributes:
        task: the registry's name of the head.
        ties: parameter -> the parameter that it shares when config.tie_word_embeddings is set.
        rules: how checkpoints differ from the model's parameters.
        base: the attribute that holds the base model. Checkpoints of a base model alone leave it
            out before parameter names.
        ignorable: regular expression on a checkpoint's name -> why the tensor is not needed.
        new_head: prefixes of the parameters that a new task may start at random, on request.
        calibration: the blocks and linears, for quantization.

    Args:
        config: the family's config.
        attention: name of the attention backend.
    """

    task: ClassVar[str]
    ties: ClassVar[dict[str, str]] = {}
    rules: ClassVar[tuple[Rule, ...]] = ()
    base: ClassVar[str] = "model"
    ignorable: ClassVar[dict[str, str]] = {}
    new_head: ClassVar[tuple[str, ...]] = ()
    calibration: ClassVar[CalibrationWalk]

    def __init__(self, config: ModelConfig, attention: str = "sdpa") -> None:
        super().__init__()
        self.config = config
        self.attention = attention
        self.checkpointing = False

    @property
    def blocks(self) -> nn.ModuleList:
        """The repeated blocks, the units of sharding and of calibration."""
        blocks = self.get_submodule(self.calibration.blocks)
        assert isinstance(blocks, nn.ModuleList)
        return blocks

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the parameters."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def active_ties(self) -> dict[str, str]:
        """The ties that this config asks for."""
        return self.ties if self.config.tie_word_embeddings else {}

    def tie_weights(self) -> None:
        """Make each tied parameter the very object that it shares."""
        for name, origin in self.active_ties().items():
            path, _, leaf = name.rpartition(".")
            setattr(self.get_submodule(path), leaf, self.get_parameter(origin))

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Trade time for memory: recompute each block in the backward pass."""
        self.checkpointing = enabled

    def init_std(self, name: str) -> float:
        """Standard deviation of a new matrix."""
        return self.config.initializer_range


def compute_dtype(x: torch.Tensor) -> torch.dtype:
    """The dtype that linears give for this input: autocast's where it is on, else the input's."""
    device_type = x.device.type
    if torch.is_autocast_enabled(device_type):
        return torch.get_autocast_dtype(device_type)
    return x.dtype
