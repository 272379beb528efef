"""Prompts with their answers as the ids that a model reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tfcli.models.losses import IGNORED
from tfcli.train.batch import Example, side_by_side
from tfcli.train.feeds.columns import Table, say_cut
from tfcli.train.objectives.objective import Material, Shown

ANSWERS = ("chosen", "rejected")


def pair_examples(material: Material, table: Table) -> list[Example]:
    """Rows of `prompt`, `chosen` and `rejected` as ids, see `answer_examples`."""
    return answer_examples(material, table, ANSWERS)


def answer_examples(material: Material, table: Table, names: Sequence[str]) -> list[Example]:
    """Rows of `prompt` and answers to it as ids.

    Prompts and answers are cut into tokens apart, so that all answers have the same prompt; what
    the tokenizer puts around a text stands around both together, and an answer ends with the token
    that ends a text. Answers are cut aloud to `sequence_length`.

    Args:
        names: of the answers.

    Returns:
        examples with every answer after its prompt, [s] of its own, and `prompt` [], how many of
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
        for name in ("prompt", *names)
    )
    examples: list[Example] = []
    cut = 0
    for number, (prompt, *each) in enumerate(zip(prompts, *answers, strict=True)):
        begin = prefix + prompt
        whole = [[*begin, *answer, *end] for answer in each]
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
        rows = {name: torch.tensor(ids[:length]) for name, ids in zip(names, whole, strict=True)}
        examples.append({**rows, "prompt": torch.tensor(len(begin))})
    say_cut(material.console, cut, len(table), "sequence_length", length)
    return examples


def both_answers(
    pairs: Sequence[Mapping[str, Tensor]],
    fill: Mapping[str, int],
    names: Sequence[str] = ANSWERS,
) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask` of pairs, [2b, s]: all first answers, then the others."""
    ids = [pair[name] for name in names for pair in pairs]
    rows = [{"input_ids": each, "attention_mask": torch.ones_like(each)} for each in ids]
    return side_by_side(rows, fill)


def answer_targets(rows: Mapping[str, Tensor], prompts: Tensor) -> dict[str, Tensor]:
    """`input_ids`, `attention_mask` and `targets` [b, s - 1] of answers after their prompts: the
    token that follows each, -100 but in answers.

    Args:
        rows: `input_ids` and `attention_mask`, [b, s].
        prompts (Tensor): [b], how many of a row's first ids are its prompt's.
    """
    ids, mask = rows["input_ids"], rows["attention_mask"]
    places = torch.arange(1, ids.shape[1])
    wanted = (mask[:, 1:] == 1) & (places >= prompts[:, None])
    # A batch is as long as its longest answer, whose last token predicts nothing.
    targets = ids[:, 1:].masked_fill(~wanted, IGNORED)
    return {"input_ids": ids[:, :-1], "attention_mask": mask[:, :-1], "targets": targets}


def shown_answer(ids: Tensor, prompt: Tensor) -> Shown:
    """A prompt with an answer, which alone is learned, for a preview."""
    learned = [place >= int(prompt) for place in range(len(ids))]
    return Shown(ids.tolist(), learned, len(ids) - 1)
