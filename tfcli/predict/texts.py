"""Texts as inputs of a model: for all tasks that read any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from tfcli.errors import WorkError
from tfcli.models.configs.text import TextConfig
from tfcli.models.registry import get_family
from tfcli.predict.options.shared import Options, TextOptions
from tfcli.predict.parts import Parts
from tfcli.predict.task import Task
from tfcli.tokenizers.batch import Batch
from tfcli.tokenizers.fits import check_ids

TYPES = "token_type_ids"
O = TypeVar("O", bound=Options)


class TextTask(Task[O]):
    """A task whose samples are texts: `input_ids`, `attention_mask` and, where the model tells two
    texts apart by them, `token_type_ids`, each [s]."""

    def fill(self) -> Mapping[str, int]:
        """Padding that the mask hides."""
        pad = self.parts.tokenizer.pad_id
        return {"input_ids": 0 if pad is None else pad, "attention_mask": 0, TYPES: 0}

    @property
    def padding_side(self) -> str:
        """The tokenizer's."""
        return self.parts.texts.padding_side

    def encode(self, text: str, pair: str | None = None) -> Batch:
        """One text or pair with its special tokens, as long as the options say (`TextOptions`);
        without such options, as long as there is room.

        Raises:
            WorkError: it is too long and may not be cut, or has no tokens.
        """
        asked = self.options if isinstance(self.options, TextOptions) else TextOptions()
        room = asked.max_length or longest(self.parts)
        cut = asked.truncation and room is not None
        batch = self.parts.tokenizer.batch(
            [text],
            None if pair is None else [pair],
            max_length=room if cut else None,
            truncation=self.parts.texts.truncation_side if cut else None,
        )
        (ids,) = batch.ids
        if not ids:
            raise WorkError("the text has no tokens")
        if room is not None and len(ids) > room:
            raise WorkError(
                f"the text has {len(ids):,} tokens, and there is room for {room:,}",
                fix="options.truncation: true cuts it",
            )
        return batch

    def model_inputs(
        self, ids: Sequence[int], types: Sequence[int], mask: Sequence[int] | None = None
    ) -> dict[str, Tensor]:
        """What the model gets of a text, each [s].

        Raises:
            WorkError: an id that the model has no embedding for.
        """
        check_ids(ids, self.parts.config, self.parts.name)
        inputs = {
            "input_ids": torch.tensor(ids, dtype=torch.int64),
            "attention_mask": torch.tensor([1] * len(ids) if mask is None else list(mask)),
        }
        if has_types(self.parts) and any(types):
            inputs[TYPES] = torch.tensor(types, dtype=torch.int64)
        return inputs

    def text_inputs(self, batch: Batch) -> dict[str, Tensor]:
        """The same of the one text of a batch."""
        return self.model_inputs(batch.ids[0], batch.token_type_ids[0], batch.attention_mask[0])


def has_types(parts: Parts) -> bool:
    """Whether the model tells the texts of a pair apart by `token_type_ids`."""
    return TYPES in get_family(parts.config.model_type).backbone_class().inputs


def longest(parts: Parts) -> int | None:
    """The most tokens that a text may have: what the tokenizer's folder and the model's positions
    allow; None where neither ends."""
    config = parts.config.text
    positions = config.longest_text if isinstance(config, TextConfig) else None
    said = [each for each in (parts.texts.model_max_length, positions) if each]
    return min(said, default=None)


def text_of(row: Mapping[str, Any], column: str) -> str:
    """The text of a row in a column.

    Raises:
        WorkError: what stands there is none.
    """
    value = row[column]
    if not isinstance(value, str):
        raise WorkError(f"{column!r} is {type(value).__name__}, and not a text")
    return value


def texts_of(row: Mapping[str, Any], column: str) -> list[str]:
    """The texts of a row in a column: a list, or texts with commas between them.

    Raises:
        WorkError: what stands there is no such list, or an empty one.
    """
    value = row[column]
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value) or not value:
        raise WorkError(f"{column!r} is no list of texts", fix="give at least one")
    return value


def labels_of(row: Mapping[str, Any], usual: list[str]) -> list[str]:
    """The `candidate_labels` of a row, or the usual ones.

    Raises:
        WorkError: there are none.
    """
    labels = texts_of(row, "candidate_labels") if "candidate_labels" in row else usual
    if not labels:
        raise WorkError("there are no labels", fix="options.candidate_labels: [one, another]")
    return labels


def cut_text(batch: Batch, room: int, *, text: int) -> tuple[list[int], list[int]]:
    """The ids and the types of a pair of which one text has lost its end, so that it fits.

    Args:
        batch: of one pair, with the numbers of its texts.
        room: tokens that fit.
        text: which loses, 0 or 1.

    Raises:
        WorkError: the other one alone is too long.
    """
    assert batch.sequence_ids is not None, "it has the numbers of texts"
    ids, types, sides = batch.ids[0], batch.token_type_ids[0], batch.sequence_ids[0]
    places = [place for place, side in enumerate(sides) if side == text]
    over = max(len(ids) - room, 0)
    if over > len(places):
        raise WorkError(f"a text has {over - len(places)} tokens more than there is room for")
    lost = set(places[len(places) - over :])
    kept = [place for place in range(len(ids)) if place not in lost]
    return [ids[place] for place in kept], [types[place] for place in kept]
