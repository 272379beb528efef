"""Rules that change what a model says of the next token, before one is chosen.

Each is what transformers' greedy search makes of a key of generation_config.json, and they come in
its order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Process = Callable[[Sequence[int], torch.Tensor], torch.Tensor]
"""The ids so far, the prompt or a decoder's start among them, and float32 logits [vocab] -> logits.
A token whose logit is -inf is not chosen."""

NEVER = -math.inf


@dataclass(frozen=True)
class Rules:
    """The rules of one text, under transformers' names.

    Args:
        bias: tokens -> what is added to the last one's logit after the others.
        decay: after so many new tokens the end becomes likelier, by a power of the second number.
    """

    repetition_penalty: float = 1.0
    encoder_repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    min_length: int = 0
    min_new_tokens: int = 0
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()
    bias: tuple[tuple[tuple[int, ...], float], ...] = ()
    forced_bos: int | None = None
    forced_eos: tuple[int, ...] = ()
    decay: tuple[int, float] | None = None
    remove_invalid_values: bool = False


def processes(
    rules: Rules,
    *,
    source: Sequence[int],
    start: int,
    max_new_tokens: int,
    stop: Sequence[int],
) -> list[Process]:
    """What the rules do to the logits of one text, in order.

    Args:
        rules: of the checkpoint and of the user.
        source: the ids that the prompt was read as, by an encoder or by the model itself.
        start: how many ids there are before the first new one.
        max_new_tokens: at most so many.
        stop: ids that end a text.
    """
    first = start + 1 if rules.forced_bos is not None and start <= 1 else start
    # Where both are said, transformers goes by the new tokens alone.
    least = start + rules.min_new_tokens if rules.min_new_tokens else rules.min_length
    made: list[tuple[object, Process]] = [
        (rules.bias, biased(rules.bias)),
        (rules.encoder_repetition_penalty != 1, rewarded(source, rules.encoder_repetition_penalty)),
        (rules.repetition_penalty != 1, penalized(rules.repetition_penalty)),
        (rules.no_repeat_ngram_size, unrepeated(rules.no_repeat_ngram_size)),
        (
            rules.encoder_no_repeat_ngram_size,
            unrepeated(rules.encoder_no_repeat_ngram_size, source),
        ),
        (least and stop, when(lambda length: length < least, without(stop))),
        (rules.forced_bos is not None, when(lambda length: length == 1, only([rules.forced_bos]))),
        (
            rules.forced_eos,
            when(lambda length: length == start + max_new_tokens - 1, only(rules.forced_eos)),
        ),
        (rules.remove_invalid_values, lambda ids, logits: torch.nan_to_num(logits, nan=0.0)),
        (rules.decay and stop, decayed(rules.decay or (0, 1.0), start, stop)),
        (rules.suppress_tokens, without(rules.suppress_tokens)),
        (
            rules.begin_suppress_tokens,
            when(lambda length: length == first, without(rules.begin_suppress_tokens)),
        ),
    ]
    return [process for wanted, process in made if wanted]


def when(holds: Callable[[int], bool], process: Process) -> Process:
    """A process that works where the number of ids so far is as it must be."""
    return lambda ids, logits: process(ids, logits) if holds(len(ids)) else logits


def without(tokens: Sequence[int]) -> Process:
    """These tokens do not come."""

    def process(ids: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        # An end that lies past the table cannot come anyway.
        return _filled(logits, [token for token in tokens if token < len(logits)], NEVER)

    return process


def only(tokens: Sequence[int | None]) -> Process:
    """One of these tokens comes."""

    def process(ids: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        return _filled(torch.full_like(logits, NEVER), list(tokens), 0.0)

    return process


def penalized(penalty: float) -> Process:
    """Tokens that came before are less likely (Keskar et al. 2019)."""

    def process(ids: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        return _scaled(logits, ids, penalty)

    return process


def rewarded(source: Sequence[int], penalty: float) -> Process:
    """Tokens of the source are likelier."""

    def process(ids: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        return _scaled(logits, source, 1 / penalty)

    return process


def unrepeated(size: int, source: Sequence[int] | None = None) -> Process:
    """No `size` tokens in a row come twice, or come that stand in the source."""

    def process(ids: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        read = list(ids if source is None else source)
        begin = list(ids)[len(ids) - size + 1 :] if len(ids) >= size - 1 else None
        banned = {
            read[at + size - 1]
            for at in range(len(read) - size + 1)
            if read[at : at + size - 1] == begin
        }
        return _filled(logits, [token for token in banned if token < len(logits)], NEVER)

    return process


def biased(bias: Sequence[tuple[tuple[int, ...], float]]) -> Process:
    """A number is added to a token's logit where the tokens before it have just come."""

    def process(ids: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        added = torch.zeros_like(logits)
        for (*before, last), number in bias:
            if not before or list(ids[-len(before) :]) == before:
                added[last] += number
        return logits + added

    return process


def decayed(decay: tuple[int, float], start: int, stop: Sequence[int]) -> Process:
    """From some length on, the end of the text is likelier with each token."""
    begin, factor = decay

    def process(ids: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        over = len(ids) - begin - start
        ends = [token for token in stop if token < len(logits)]
        if over <= 0 or not ends:
            return logits
        at = torch.tensor(ends, device=logits.device)
        more = logits[at].abs() * (factor**over - 1)
        return logits.index_add(0, at, more.where(logits[at].isfinite(), more.new_zeros(())))

    return process


def _filled(logits: torch.Tensor, tokens: Sequence[int | None], value: float) -> torch.Tensor:
    return logits.index_fill(
        0, torch.tensor(list(tokens), dtype=torch.long, device=logits.device), value
    )


def _scaled(logits: torch.Tensor, tokens: Sequence[int], penalty: float) -> torch.Tensor:
    """Logits of some tokens, made smaller by a factor whatever their sign."""
    there = sorted({token for token in tokens if token < len(logits)})
    at = torch.tensor(there, dtype=torch.long, device=logits.device)
    old = logits[at]
    return logits.index_copy(0, at, torch.where(old < 0, old * penalty, old / penalty))
