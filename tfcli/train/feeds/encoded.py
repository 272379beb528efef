"""Texts and pairs of texts as inputs of a model, one example each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tfcli.errors import UsageError
from tfcli.models.registry import get_family
from tfcli.tokenizers.batch import Batch, Text
from tfcli.tokenizers.load import Tokenizer
from tfcli.train.feeds.columns import Table, say_cut
from tfcli.train.objectives.objective import Material

TYPES = "token_type_ids"


def filling(tokenizer: Tokenizer) -> dict[str, int]:
    """What inputs are filled up with: padding that the mask hides.

    Any id would do, but for the one that ends a text, where a head looks for the last of these.
    """
    pad = tokenizer.pad_id
    if pad is None or pad == tokenizer.eos_id:
        pad = 1 if tokenizer.eos_id == 0 else 0
    return {"input_ids": pad, "attention_mask": 0, TYPES: 0}


def encode(
    material: Material,
    table: Table,
    texts: Sequence[Text],
    pairs: Sequence[str] | None = None,
    *,
    words: bool = False,
    tokenizer: Tokenizer | None = None,
    key: str = "sequence_length",
    length: int | None = None,
) -> Batch:
    """Texts, or pairs of them, with their special tokens, cut aloud to a length.

    Args:
        table: the rows that they are from.
        words: each text is a list of words; the ids say which word they are from.
        tokenizer: left out, the material's.
        key: that says the length, for messages.
        length: left out, `sequence_length`.

    Raises:
        UsageError: the length has no room beside the special tokens.
        WorkError: a text without a token; names the row.
    """
    length = material.spec.sequence_length if length is None else length
    try:
        batch = (tokenizer or material.tokenizer).batch(
            texts,
            pairs,
            is_split_into_words=words,
            max_length=length,
            truncation="right",
            return_word_ids=words,
        )
    except UsageError as error:
        if error.where != "max_length":
            raise
        what = error.what.replace("max_length", key)
        raise UsageError(what, where=key, fix="a greater one") from error
    for number, ids in enumerate(batch.ids):
        if not ids:
            raise table.problem(number, "the text has no tokens", "leave the row out")
    say_cut(material.console, sum(batch.overflow), len(texts), key, length)
    return batch


def inputs_of(material: Material, batch: Batch) -> list[dict[str, Tensor]]:
    """What the model gets of each text: `input_ids`, `attention_mask`, and `token_type_ids` where
    it tells the texts of a pair apart; each [s]."""
    names = {"input_ids": batch.ids, "attention_mask": batch.attention_mask}
    if has_types(material) and any(map(any, batch.token_type_ids)):
        names[TYPES] = batch.token_type_ids
    columns = zip(*names.values(), strict=True)
    return [dict(zip(names, map(torch.tensor, row), strict=True)) for row in columns]


def has_types(material: Material) -> bool:
    """Whether the model tells the texts of a pair apart by `token_type_ids`."""
    return TYPES in get_family(material.config.model_type).backbone_class().inputs
