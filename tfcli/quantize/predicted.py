"""The states that models of each kind predict words from, in windows of calibration text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from tfcli.errors import UsageError
from tfcli.evaluate.predict import PASSES
from tfcli.models.model import Model

Ending = Callable[[Model, Mapping[str, Tensor]], Tensor]
"""From a model and what it is called with for b windows to states [b, n, d] that it predicts n
words of each from, for `Model.logits_of`."""


def next_token_states(model: Model, inputs: Mapping[str, Tensor]) -> Tensor:
    """Those of a causal language model: of all tokens but the last, whose successor is unknown."""
    return _states(model, inputs, logits_to_keep=inputs["input_ids"].shape[1])[:, :-1]


def decoder_states(model: Model, inputs: Mapping[str, Tensor]) -> Tensor:
    """Those of an encoder-decoder: of all tokens that it writes but the last."""
    return _states(model, inputs)[:, :-1]


def masked_states(mask: int) -> Ending:
    """Those of an encoder: of the tokens that are masked, as many in each window.

    Args:
        mask: id of the mask token.
    """

    def states(model: Model, inputs: Mapping[str, Tensor]) -> Tensor:
        ids = inputs["input_ids"]
        return _states(model, inputs)[ids == mask].unflatten(0, (len(ids), -1))

    return states


def with_masks(ids: Tensor, mask: int, prefix: int) -> Tensor:
    """Windows with one token in seven masked, others in each window than in the one before it.

    Args:
        ids (Tensor): int64 [w, s].
        mask: id of the mask token.
        prefix: how many tokens at the beginning of each window the tokenizer put there.

    Returns:
        [w, s]
    """
    places = torch.arange(ids.shape[1]) - prefix
    step = min(PASSES, ids.shape[1] - prefix)
    first = torch.arange(len(ids))[:, None]
    return ids.masked_fill(((places - first) % step == 0) & (places >= 0), mask)


ENDINGS: dict[str, Ending] = {"causal-lm": next_token_states, "seq2seq-lm": decoder_states}
"""Of the tasks whose models predict what is in a text as it is."""


def require_predictions(model: Model, where: str) -> None:
    """Refuse models whose predictions of words cannot be followed block by block.

    Raises:
        UsageError: names the family.
    """
    followed = all(chain.chained for chain in model.walks) and model.walks == model.text_walks
    if model.task not in (*ENDINGS, "masked-lm") or not followed:
        raise UsageError(
            f"a budget needs a model that predicts words, all of whose blocks a text runs through "
            f"one after the other, and {model.config.model_type} as {model.task} is none",
            where=where,
            fix="give bits, and overrides where some linears shall have others",
        )


def _states(model: Model, inputs: Mapping[str, Tensor], **options: Any) -> Tensor:
    """What a model's logits are computed from, [b, s, d]."""
    states = model(**inputs, **options, return_logits=False).last_hidden_state
    assert isinstance(states, Tensor), "without logits a model gives states"
    return states
