"""How each kind of model predicts the tokens of a window that are to be scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from tfcli.errors import UsageError
from tfcli.generation.settings import TextSettings
from tfcli.models.configs.text import TextConfig
from tfcli.models.model import Model
from tfcli.tokenizers.load import Tokenizer
from tfcli.tokenizers.mask import mask_id

Predict = Callable[[Model, torch.Tensor, int], torch.Tensor]
"""From a model, ids [rows, s] and how many last tokens of each row are scored to the states that
predict them, [rows * scored, d], for `Model.logits_of`. What the tokenizer puts before a text is in
the rows."""
Begin = tuple[int, ...]
"""Ids that a decoder sees before a target; empty for other models."""

TASKS = {
    "causal-lm": "perplexity",
    "masked-lm": "masked-perplexity",
    "seq2seq-lm": "seq2seq-perplexity",
}
"""The task of a model -> what is measured of it."""
PASSES = 7  # of a masked window: one token in seven is masked at a time, about BERT's 15%


def predictor(task: str, tokenizer: Tokenizer, config: TextConfig, begin: Begin) -> Predict:
    """The predictor of a model's task.

    Args:
        task: of the model.
        tokenizer: its mask token and what it puts after a text.
        config: of the model.
        begin: what the decoder of an encoder-decoder sees before a target.

    Raises:
        UsageError: the tokenizer or the config lacks a token that the predictor needs.
    """
    if task == "masked-lm":
        return masked_tokens(mask_id(tokenizer, "model"), tokenizer.suffix)
    if task == "seq2seq-lm":
        if not begin:
            raise UsageError(
                "the config has no decoder_start_token_id, which decoding begins with",
                where="model",
                fix="add it to config.json",
            )
        return decoded_tokens(begin, tokenizer.suffix)
    return next_tokens


def decoder_begin(
    settings: TextSettings, config: TextConfig, target_prefix: Sequence[int]
) -> Begin:
    """What a decoder saw before every target that it was trained on: its start, and the tokens
    that the target's tokenizer puts before a text, such as <s> or its language.

    Args:
        settings: of the checkpoint; a forced first token is the one that a target begins with.
        config: of the model.
        target_prefix: ids that the tokenizer puts before a target.
    """
    start = settings.start
    if start is None:
        start = getattr(config, "decoder_start_token_id", None)
    if start is None:
        return ()
    first = target_prefix if settings.forced_bos is None else (settings.forced_bos,)
    return (start, *first)


def next_tokens(model: Model, ids: torch.Tensor, scored: int) -> torch.Tensor:
    """From left to right: each token from those before it."""
    states = _states(model, input_ids=ids, logits_to_keep=scored + 1)
    return states[:, :-1].flatten(0, 1)


def masked_tokens(mask: int, suffix: Sequence[int]) -> Predict:
    """From both sides: a few tokens are masked at a time, until each was masked once.

    The pseudo-likelihood of Salazar et al. (2020), with several masks a pass in place of one.

    Args:
        mask: id of the mask token.
        suffix: ids that the tokenizer puts after a text.
    """

    def predict(model: Model, ids: torch.Tensor, scored: int) -> torch.Tensor:
        rows = len(ids)
        whole = torch.cat((ids, ids.new_tensor(list(suffix)).expand(rows, -1)), dim=1)
        first = whole.shape[1] - len(suffix) - scored
        states = None
        for at in range(min(PASSES, scored)):
            hidden = torch.arange(first + at, first + scored, PASSES, device=ids.device)
            found = _states(model, input_ids=whole.index_fill(1, hidden, mask))[:, hidden]
            if states is None:
                states = found.new_empty(rows, scored, found.shape[-1])
            states[:, at::PASSES] = found
        assert states is not None
        return states.flatten(0, 1)

    return predict


def decoded_tokens(begin: Begin, suffix: Sequence[int]) -> Predict:
    """The encoder reads what is not scored, and the decoder goes on from there.

    Args:
        begin: ids that the decoder sees before the target, at least one.
        suffix: ids that the tokenizer puts after a text.
    """

    def predict(model: Model, ids: torch.Tensor, scored: int) -> torch.Tensor:
        end = ids.new_tensor(list(suffix)).expand(len(ids), -1)
        source = torch.cat((ids[:, :-scored], end), dim=1)
        before = ids.new_tensor(list(begin)).expand(len(ids), -1)
        target = torch.cat((before, ids[:, -scored:][:, :-1]), dim=1)
        words = {"input_ids": source, "decoder_input_ids": target}
        return _states(model, **words, logits_to_keep=scored).flatten(0, 1)

    return predict


def _states(model: Model, **inputs: Any) -> torch.Tensor:
    """What a model's logits are computed from, [rows, s, d]."""
    states = model(**inputs, return_logits=False).last_hidden_state
    assert isinstance(states, torch.Tensor), "without logits a model gives states"
    return states
