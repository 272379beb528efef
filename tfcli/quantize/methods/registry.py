"""Which quantization methods there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tfcli.quantize.methods.method import Method
from tfcli.quantize.spec import QuantizeSpec

if TYPE_CHECKING:
    from tfcli.quantize.methods.ggml import Blocks

METHODS = {
    "rtn": "rtn.RTN",
    "gptq": "gptq.GPTQ",
    "awq": "awq.AWQ",
    "smoothquant": "smooth.SmoothQuant",
    "fp8": "floats.FP8",
    "mxfp4": "floats.MXFP4",
    "nvfp4": "floats.NVFP4",
    "bnb": "bnb.BitsAndBytes",
    "hqq": "hqq.HQQ",
}
"""Name -> its class, in a file of this folder."""

BLOCK_METHODS = {"rtn": "ggml.BlockRTN", "gptq": "ggml.BlockGPTQ"}
"""The same of those that fill the block types of GGUF."""


def get_block_method(name: str) -> Callable[[QuantizeSpec, Mapping[str, str]], Blocks]:
    """The method with a name of `BLOCK_METHODS`, made of the block type of each linear."""
    found: Any = _class(BLOCK_METHODS[name])
    made: Callable[[QuantizeSpec, Mapping[str, str]], Blocks] = found
    return made


def get_method(name: str) -> type[Method]:
    """The method with a name of `METHODS`."""
    return _class(METHODS[name])


def _class(place: str) -> type[Method]:
    file, _, class_name = place.partition(".")
    found: type[Method] = getattr(import_module(f"tfcli.quantize.methods.{file}"), class_name)
    return found
