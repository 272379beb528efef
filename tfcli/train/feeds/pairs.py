"""Prompts, each with two answers, as the ids that a model reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tfcli.train.batch import Example, side_by_side
from tfcli.train.feeds.columns import Table, say_cut
from tfcli.train.objectives.objective import Material

ANSWERS = ("chosen", "rejected")


def pair_examples(material: Material, table: Table) -> list[Example]:
    """Rows of `prompt`, `chosen` and `rejected` as ids.

    Prompts and answers are cut into tokens apart, so that both answers have the same prompt; what
    the tokenizer puts around a text stands around both together, and an answer ends with the token
    that ends a text. Answers are cut aloud to `sequence_length`.

    Returns:
        examples with `chosen` and `rejected`, both [s] of their own, and `prompt` [], how many of
        their first ids are the prompt's

    Raises:
        WorkError: a prompt that leaves no room for an answer, or an answer without tokens; names
            the row.
    """
    tokenizer, length = material.tokenizer, material.spec.sequence_length
    prefix, end = list(tokenizer.prefix), list(tokenizer.suffix)
    if not end and tokenizer.eos_id is not None:
        end = [tokenizer.eos_id]
    prompts, *answers = (
        tokenizer.encode_batch(table.texts(name), add_special_tokens=False)
        for name in ("prompt", *ANSWERS)
    )
    examples: list[Example] = []
    cut = 0
    for number, (prompt, *both) in enumerate(zip(prompts, *answers, strict=True)):
        begin = prefix + prompt
        whole = [[*begin, *answer, *end] for answer in both]
        first = max(1, len(begin))  # the first token of a text is predicted by nothing
        if len(begin) >= length:
            raise table.problem(
                number,
                f"the prompt has {len(begin):,} tokens, and sequence_length {length:,} leaves no "
                "room for an answer",
                "a greater sequence_length, or leave the row out",
            )
        if any(len(ids) <= first for ids in whole):
            raise table.problem(number, "an answer has no tokens", "leave the row out")
        cut += any(len(ids) > length for ids in whole)
        rows = {name: torch.tensor(ids[:length]) for name, ids in zip(ANSWERS, whole, strict=True)}
        examples.append({**rows, "prompt": torch.tensor(len(begin))})
    say_cut(material.console, cut, len(table), "sequence_length", length)
    return examples


def both_answers(
    pairs: Sequence[Mapping[str, Tensor]], fill: Mapping[str, int]
) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask` of pairs, [2b, s]: all chosen answers, then the others."""
    ids = [pair[name] for name in ANSWERS for pair in pairs]
    rows = [{"input_ids": each, "attention_mask": torch.ones_like(each)} for each in ids]
    return side_by_side(rows, fill)
