"""How each kind of model predicts the tokens of a window that are to be scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from tfcli.errors import UsageError
from tfcli.models.model import Model
from tfcli.tokenizers.load import Tokenizer

Predict = Callable[[Model, torch.Tensor, int], torch.Tensor]
"""From a model, ids [rows, s] and how many last tokens of each row are scored to the logits that
predict them, [rows * scored, vocab]."""

TASKS = {
    "causal-lm": "perplexity",
    "masked-lm": "masked-perplexity",
    "seq2seq-lm": "seq2seq-perplexity",
}
"""The task of a model -> what is measured of it."""
PASSES = 7  # of a masked window: one token in seven is masked at a time, about BERT's 15%


def predictor(task: str, tokenizer: Tokenizer, model: Model) -> Predict:
    """The predictor of a model's task.

    Raises:
        UsageError: the tokenizer or the config lacks a token that the predictor needs.
    """
    if task == "masked-lm":
        mask = tokenizer.special_ids.get("mask_token")
        if mask is None:
            raise UsageError(
                "the tokenizer declares no mask_token, which a masked language model needs",
                where="model",
                fix="add mask_token to tokenizer_config.json",
            )
        return masked_tokens(mask, tokenizer.prefix, tokenizer.suffix)
    if task == "seq2seq-lm":
        start = getattr(model.config, "decoder_start_token_id", None)
        if start is None:
            raise UsageError(
                "the config has no decoder_start_token_id, which decoding begins with",
                where="model",
                fix="add it to config.json",
            )
        return decoded_tokens(start, tokenizer.suffix)
    return next_tokens


def next_tokens(model: Model, ids: torch.Tensor, scored: int) -> torch.Tensor:
    """From left to right: each token from those before it."""
    logits = model(input_ids=ids, logits_to_keep=scored + 1).logits
    return logits[:, :-1].flatten(0, 1)


def masked_tokens(mask: int, prefix: Sequence[int], suffix: Sequence[int]) -> Predict:
    """From both sides: a few tokens are masked at a time, until each was masked once.

    The pseudo-likelihood of Salazar et al. (2020), with several masks a pass in place of one.

    Args:
        mask: id of the mask token.
        prefix: ids that the tokenizer puts before a text.
        suffix: ids that it puts after a text.
    """

    def predict(model: Model, ids: torch.Tensor, scored: int) -> torch.Tensor:
        # A document's first window begins with the prefix already.
        lead = [] if ids[0, : len(prefix)].tolist() == list(prefix) else list(prefix)
        rows = len(ids)
        before, after = (ids.new_tensor(list(part)).expand(rows, -1) for part in (lead, suffix))
        whole = torch.cat((before, ids, after), dim=1)
        first = whole.shape[1] - len(suffix) - scored
        logits = None
        for at in range(min(PASSES, scored)):
            hidden = torch.arange(first + at, first + scored, PASSES, device=ids.device)
            found = model(input_ids=whole.index_fill(1, hidden, mask)).logits[:, hidden]
            if logits is None:
                logits = found.new_empty(rows, scored, found.shape[-1])
            logits[:, at::PASSES] = found
        assert logits is not None
        return logits.flatten(0, 1)

    return predict


def decoded_tokens(start: int, suffix: Sequence[int]) -> Predict:
    """The encoder reads what is not scored, and the decoder goes on from there.

    Args:
        start: id that decoding begins with.
        suffix: ids that the tokenizer puts after a text.
    """

    def predict(model: Model, ids: torch.Tensor, scored: int) -> torch.Tensor:
        end = ids.new_tensor(list(suffix)).expand(len(ids), -1)
        source = torch.cat((ids[:, :-scored], end), dim=1)
        begin = ids.new_full((len(ids), 1), start)
        target = torch.cat((begin, ids[:, -scored:-1]), dim=1)
        return model(input_ids=source, decoder_input_ids=target).logits.flatten(0, 1)

    return predict
