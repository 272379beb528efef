"""Which linear `head` quantizes, and what a model says of itself once its head is its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from tfcli.errors import UsageError
from tfcli.models.model import Model
from tfcli.models.rules import of_modules, place_of
from tfcli.quantize.spec import QuantizeSpec

_TIED = "tie_word_embeddings"


def head_of(model: Model, spec: QuantizeSpec) -> str | None:
    """Full name of the head that is to be quantized; None where `head` is left out.

    Raises:
        UsageError: the model has no head that makes scores of words by one product, its
            checkpoints call it something else, or calibration does not get to it.
    """
    if spec.head is None:
        return None
    name, fix = model.word_head, "leave head out"
    if name is None:
        raise UsageError(
            f"{type(model).__name__} has no head that makes scores of words of its states",
            where="head",
            fix=fix,
        )
    assert isinstance(model.get_submodule(name), nn.Linear), "what word_head names is a linear"
    called = place_of(of_modules(model.rules()), f"{name}.weight").name
    if called != f"{name}.weight":
        raise UsageError(
            f"the head of {model.config.model_type} is {called} to readers, and a packed one would "
            f"be written as {name}",
            where="head",
            fix=fix,
        )
    chains = model.text_walks
    if spec.calibrated and not (len(chains) == 1 and chains[0].chained):
        raise UsageError(
            f"the blocks of {model.config.model_type} are no single chain, at whose end "
            f"{spec.method} could see what the head gets",
            where="head",
            fix=f"{fix}, or take a method without calibration, such as --method rtn",
        )
    return name


def untied(config: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a config.json whose head no longer shares the table of embeddings."""
    found = {**config, _TIED: False}
    text = config.get("text_config")
    if isinstance(text, Mapping) and text.get(_TIED):
        found["text_config"] = {**text, _TIED: False}
    return found
