"""Which layout a quantization_config is in, and which ones there are."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tfcli.models.layouts.auto_round import NAME as AUTO_ROUND
from tfcli.models.layouts.auto_round import stands_for
from tfcli.models.layouts.errors import refused

if TYPE_CHECKING:
    from tfcli.models.layouts.layout import Layout, ReadLayout

LAYOUTS = {
    "gptq": "gptq.GPTQLayout",
    "awq": "awq.AWQLayout",
    "compressed-tensors": "compressed_tensors.CompressedTensorsLayout",
    "mlx": "mlx.MLXLayout",
    "bitsandbytes": "bitsandbytes.BitsAndBytesLayout",
    "hqq": "hqq.HQQLayout",
    "torchao": "torchao.TorchAOLayout",
}
"""Name of a layout, which is its quant_method -> its class, in a file of this folder."""

ONLY_READ = {
    "quanto": "quanto.QuantoLayout",
    "aqlm": "aqlm.AQLMLayout",
    "eetq": "eetq.EETQLayout",
}
"""The same of those that are not written."""

METHODS = {**LAYOUTS, **ONLY_READ}
"""Every quant_method whose linears run as they are packed -> the class of its layout."""

STANDING_FOR_OTHERS = (AUTO_ROUND,)
"""Values of quant_method whose tensors are in one of these layouts; the config says in which."""

DENSE_IN_FOLDERS = ("mlx",)
"""Of these whole folders are a container of their own, which gives a model dense weights."""


def get_layout(name: str) -> type[Layout]:
    """The layout with a name of `LAYOUTS`."""
    found: type[Layout] = _class(LAYOUTS[name])
    return found


def runs_packed(quant_method: object) -> bool:
    """Whether linears of a quant_method run as they are packed."""
    return isinstance(quant_method, str) and quant_method in (*METHODS, *STANDING_FOR_OTHERS)


def packs_tables(config: Mapping[str, Any]) -> bool:
    """Whether a quantization_config packs tables of embeddings too, which do not run packed."""
    whole = config.get("include_input_output_embeddings") is True
    return config.get("quant_method") == "torchao" and whole


def layout_of(config: Mapping[str, Any]) -> ReadLayout:
    """Read a quantization_config.

    Raises:
        ModelError: a method, a format or a value that is not supported, by name.
    """
    method = config.get("quant_method")
    if not runs_packed(method):
        raise refused("quant_method", method, [*METHODS, *STANDING_FOR_OTHERS])
    meant = stands_for(config)
    found: type[ReadLayout] = _class(METHODS[str(meant["quant_method"])])
    return found.from_config(meant)


def _class(place: str) -> Any:
    file, _, class_name = place.partition(".")
    return getattr(import_module(f"tfcli.models.layouts.{file}"), class_name)
