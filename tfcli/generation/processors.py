"""What changes a model's logits before a token is picked. Each works on a batch of rows.

Each is what transformers makes of a key of generation_config.json, but for rows of different
lengths: theirs take padding for tokens of the text, and ours do not see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from tfcli.generation.rows import holds_token, lengths

Process = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""The rows so far, int64 [b, s], the prompt or a decoder's start among them, with `NOTHING` where a
row has no token; and float32 logits [b, vocab] -> logits. A token whose logit is -inf is not
picked."""

NEVER = -math.inf

Allowed = Callable[[int, Sequence[int]], Sequence[int]]
"""The number of a text and the ids of its row so far, the prompt's or a decoder's start among them
-> ids that may come next."""


def when(holds: Callable[[torch.Tensor], torch.Tensor], process: Process) -> Process:
    """A process that works on rows whose number of tokens so far, [b], is as it must be."""

    def chosen(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return torch.where(holds(lengths(ids))[:, None], process(ids, logits), logits)

    return chosen


def without(tokens: Sequence[int]) -> Process:
    """These tokens do not come."""

    def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return logits.index_fill(1, _places(tokens, logits), NEVER)

    return process


def only(tokens: Sequence[int]) -> Process:
    """One of these tokens comes."""

    def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return torch.full_like(logits, NEVER).index_fill(1, _places(tokens, logits), 0.0)

    return process


def penalized(penalty: float) -> Process:
    """Tokens that came before are less likely (Keskar et al. 2019)."""

    def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return _scaled(logits, ids, penalty)

    return process


def rewarded(source: torch.Tensor, penalty: float) -> Process:
    """Tokens of the source, int64 [b, k], are likelier."""

    def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return _scaled(logits, source, 1 / penalty)

    return process


def counted(start: torch.Tensor, frequency: float, presence: float) -> Process:
    """Each time that a token came in the new text takes `frequency` off its logit, and that it came
    at all takes `presence`, as in OpenAI's interface. start: see `decayed`."""

    def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        vocab = logits.shape[-1]
        new = (ids >= 0) & ((ids >= 0).cumsum(-1) > start[:, None]) & (ids < vocab)
        times = logits.new_zeros(len(ids), vocab + 1)
        times.scatter_add_(1, torch.where(new, ids, vocab), torch.ones_like(ids, dtype=times.dtype))
        times = times[:, :vocab]
        return logits - frequency * times - presence * (times > 0)

    return process


def unrepeated(size: int, source: torch.Tensor | None = None) -> Process:
    """No `size` tokens in a row come twice, or come that stand in the source, int64 [b, k]."""

    def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        read = ids if source is None else source
        if read.shape[1] < size or ids.shape[1] < size - 1:
            return logits
        runs = read.unfold(1, size, 1)
        begun = ids[:, ids.shape[1] - size + 1 :, None].transpose(1, 2)
        again = (runs[:, :, :-1] == begun).all(-1) & (runs >= 0).all(-1)
        banned = holds_token(runs[:, :, -1].where(again, -1), logits.shape[-1])
        return logits.masked_fill(banned, NEVER)

    return process


def biased(bias: Sequence[tuple[tuple[int, ...], float]]) -> Process:
    """A number is added to a token's logit where the tokens before it have just come."""

    def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        added = torch.zeros_like(logits)
        for (*before, last), number in bias:
            if len(before) > ids.shape[1]:
                continue
            begun = torch.tensor(before, dtype=torch.long, device=ids.device)
            come = (ids[:, ids.shape[1] - len(before) :] == begun).all(-1)
            added[:, last] += torch.where(come.to(added.device), number, 0.0)
        return logits + added

    return process


def decayed(decay: tuple[int, float], start: torch.Tensor, stop: Sequence[int]) -> Process:
    """From some length on, the end of the text is likelier with each token.

    Args:
        decay: after so many new tokens, by powers of the second number.
        start (Tensor): int64 [b], how many tokens each row has before its first new one.
        stop: ids that end a text.
    """
    begin, factor = decay

    def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        over = (lengths(ids) - begin - start).clamp(min=0).to(logits.device)[:, None]
        at = _places(stop, logits)
        old = logits[:, at]
        more = old.abs() * (factor**over - 1)
        return logits.index_add(1, at, more.where(old.isfinite(), torch.zeros_like(more)))

    return process


def constrained(allowed: Allowed, copies: int = 1) -> Process:
    """Only tokens that a function allows come.

    Args:
        allowed: is given the number of a text and all ids of its row.
        copies: rows of each text, beside each other.
    """

    def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        found = torch.full_like(logits, NEVER)
        for number, row in enumerate(ids.tolist()):
            if row[-1] >= 0:
                text = [token for token in row if token >= 0]
                at = _places(allowed(number // copies, text), logits)
                found[number, at] = logits[number, at]
        return found

    return process


def finite(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """NaN becomes 0, and what is infinite the largest number that there is."""
    return torch.nan_to_num(logits, nan=0.0)


def _places(tokens: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
    """The columns of some tokens. One that lies past the table, as an end may, cannot come."""
    known = [token for token in tokens if token < logits.shape[-1]]
    return torch.tensor(known, dtype=torch.long, device=logits.device)


def _scaled(logits: torch.Tensor, rows: torch.Tensor, penalty: float) -> torch.Tensor:
    """Logits of the tokens of each row, made smaller by a factor whatever their sign."""
    there = holds_token(rows, logits.shape[-1])
    return torch.where(there, torch.where(logits < 0, logits * penalty, logits / penalty), logits)
