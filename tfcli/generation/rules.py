"""The rules of a text: what a checkpoint and a user want done to the logits, as processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tfcli.generation.processors import (
    Allowed,
    Process,
    biased,
    constrained,
    counted,
    decayed,
    finite,
    only,
    penalized,
    rewarded,
    unrepeated,
    when,
    without,
)


@dataclass(frozen=True)
class Rules:
    """The rules of one text, under transformers' names.

    Args:
        frequency_penalty, presence_penalty: see `processors.counted`; of OpenAI's interface.
        bias: tokens -> what is added to the last one's logit after the others.
        decay: after so many new tokens the end becomes likelier, by a power of the second number.
    """

    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
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
    source: torch.Tensor,
    start: torch.Tensor,
    max_new_tokens: torch.Tensor,
    stop: Sequence[int],
    allowed: Allowed | None = None,
    copies: int = 1,
) -> list[Process]:
    """What the rules do to the logits of a batch, in transformers' order.

    Args:
        rules: of the checkpoint and of the user.
        source (Tensor): int64 [b, k], what the prompts were read as, by an encoder or by the model
            itself; with `NOTHING` where a row has no token.
        start (Tensor): int64 [b], how many ids each row has before its first new one.
        max_new_tokens (Tensor): int64 [b], of a row at most.
        stop: ids that end a text.
        allowed: says which tokens may come; None: any.
        copies: rows of each text, beside each other.
    """
    first = start + ((start <= 1).long() if rules.forced_bos is not None else 0)
    # Where both are said, transformers goes by the new tokens alone.
    least = start + rules.min_new_tokens if rules.min_new_tokens else rules.min_length
    some_least = rules.min_new_tokens or rules.min_length
    ends = start + max_new_tokens - 1
    forced = [] if rules.forced_bos is None else [rules.forced_bos]
    some_allowed = [] if allowed is None else [constrained(allowed, copies)]
    made: list[tuple[object, Process]] = [
        (rules.bias, biased(rules.bias)),
        (rules.encoder_repetition_penalty != 1, rewarded(source, rules.encoder_repetition_penalty)),
        (rules.repetition_penalty != 1, penalized(rules.repetition_penalty)),
        (
            rules.frequency_penalty or rules.presence_penalty,
            counted(start, rules.frequency_penalty, rules.presence_penalty),
        ),
        (rules.no_repeat_ngram_size, unrepeated(rules.no_repeat_ngram_size)),
        (
            rules.encoder_no_repeat_ngram_size,
            unrepeated(rules.encoder_no_repeat_ngram_size, source),
        ),
        (some_least and stop, when(lambda length: length < least, without(stop))),
        *((True, process) for process in some_allowed),
        (forced, when(lambda length: length == 1, only(forced))),
        (rules.forced_eos, when(lambda length: length == ends, only(rules.forced_eos))),
        (rules.remove_invalid_values, finite),
        (rules.decay and stop, decayed(rules.decay or (0, 1.0), start, stop)),
        (rules.suppress_tokens, without(rules.suppress_tokens)),
        (
            rules.begin_suppress_tokens,
            when(lambda length: length == first, without(rules.begin_suppress_tokens)),
        ),
    ]
    return [process for wanted, process in made if wanted]
