"""The modules that adapters go on, and their weights, however these are stored."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tfcli.models.layers.kernel_linear import KernelLinear
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.sharding import whole


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear, dense or packed."""
    return isinstance(module, nn.Linear | QuantizedLinear | KernelLinear)


def takes_adapter(module: nn.Module) -> bool:
    """Whether an adapter may be put on a module."""
    return is_linear(module) or isinstance(module, nn.Embedding)


def is_packed(module: nn.Module) -> bool:
    """Whether the weight of a linear cannot be written to."""
    return isinstance(module, QuantizedLinear | KernelLinear)


def weight_of(module: nn.Module, dtype: torch.dtype) -> Tensor:
    """The weight of a linear [out, in] or of a table [rows, width]; packed ones are unpacked, and
    what is spread over processes comes whole."""
    if isinstance(module, QuantizedLinear):
        return module.dequantize(dtype)
    if isinstance(module, KernelLinear):
        return module.weight.dequantize(dtype)
    return whole(module.get_parameter("weight").detach()).to(dtype)


def bias_of(module: nn.Module) -> Tensor | None:
    """The bias [out] of a linear; None where it has none."""
    bias = getattr(module, "bias", None)
    return bias if isinstance(bias, Tensor) else None


def sizes_of(module: nn.Module) -> tuple[int, int]:
    """Inputs and outputs: of a linear, or the rows and the width of a table."""
    if isinstance(module, nn.Embedding):
        return module.num_embeddings, module.embedding_dim
    inputs, outputs = module.in_features, module.out_features
    assert isinstance(inputs, int) and isinstance(outputs, int)
    return inputs, outputs


def device_of(module: nn.Module) -> torch.device:
    """Where the weight of a module is."""
    if isinstance(module, KernelLinear):
        return torch.device("cpu")
    return next(iter(module.state_dict(keep_vars=True).values())).device
