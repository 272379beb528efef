"""Which quantization methods there are."""

from __future__ import annotations

from importlib import import_module

from tfcli.quantize.methods.method import Method

METHODS = {
    "rtn": "rtn.RTN",
    "gptq": "gptq.GPTQ",
    "bnb": "bnb.BitsAndBytes",
    "hqq": "hqq.HQQ",
}
"""Name -> its class, in a file of this folder."""


def get_method(name: str) -> type[Method]:
    """The method with a name of `METHODS`."""
    file, _, class_name = METHODS[name].partition(".")
    found: type[Method] = getattr(import_module(f"tfcli.quantize.methods.{file}"), class_name)
    return found
