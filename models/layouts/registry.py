"""Which layout a quantization_config is in, and which ones there are."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tfcli.models.layouts.errors import refused

if TYPE_CHECKING:
    from tfcli.models.layouts.layout import Layout

LAYOUTS = {
    "gptq": "gptq.GPTQLayout",
    "awq": "awq.AWQLayout",
    "compressed-tensors": "compressed_tensors.CompressedTensorsLayout",
    "mlx": "mlx.MLXLayout",
    "bitsandbytes": "bitsandbytes.BitsAndBytesLayout",
    "hqq": "hqq.HQQLayout",
}
"""Name of a layout -> its class, in a file of this folder."""

_QUANT_METHODS = {
    "gptq": "gptq",
    "awq": "awq",
    "compressed-tensors": "compressed-tensors",
    "mlx": "mlx",
    "bitsandbytes": "bitsandbytes",
    "hqq": "hqq",
}
"""quant_method -> the layout of weights that run packed."""


def get_layout(name: str) -> type[Layout]:
    """The layout with a name of `LAYOUTS`."""
    file, _, class_name = LAYOUTS[name].partition(".")
    found: type[Layout] = getattr(import_module(f"tfcli.models.layouts.{file}"), class_name)
    return found


def runs_packed(quant_method: object) -> bool:
    """Whether linears of a quant_method run as they are packed."""
    return isinstance(quant_method, str) and quant_method in _QUANT_METHODS


def layout_of(config: Mapping[str, Any]) -> Layout:
    """Read a quantization_config.

    Raises:
        ModelError: a method, a format or a value that is not supported, by name.
    """
    method = config.get("quant_method")
    if not runs_packed(method):
        raise refused("quant_method", method, list(_QUANT_METHODS))
    return get_layout(_QUANT_METHODS[str(method)]).from_config(config)
