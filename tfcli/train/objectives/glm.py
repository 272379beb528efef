"""Fill in parts that were cut out of a text (Du et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from tfcli.errors import UsageError
from tfcli.flagai.blanks import BlankTokens
from tfcli.flagai.infilling import BlankInfilling
from tfcli.models.losses import IGNORED
from tfcli.models.registry import get_family
from tfcli.train.batch import Batch, Example, side_by_side
from tfcli.train.feeds.encoded import filling
from tfcli.train.feeds.feed import derive_seed
from tfcli.train.feeds.redrawn import redrawn_examples
from tfcli.train.feeds.rows_of_text import TextRow
from tfcli.train.objectives.objective import (
    Examples,
    Material,
    Shown,
    TokenObjective,
    shown_next,
)
from tfcli.train.objectives.spec import BlanksSection
from tfcli.train.spec import TrainSpec

_PLACES = "position_ids"
_ROOM = 2
"""A blank adds its mask and what begins its content."""


class GLM(TokenObjective):
    """Examples have `input_ids` [s], a text with masks in the places of its blanks (part A) and
    then the blanks' contents (part B); `targets` [s], the token that each place of part B predicts,
    -100 in part A; `position_ids` [2, s], where a token stands in part A, or its blank does, and
    where it stands in its blank; and `prefix_lengths` [], the length of part A, which is seen on
    both sides. All logits are never in memory at once.

    What is cut out follows from the seed, the epoch and the row's number. Of the validation it is
    always the same.
    """

    task: ClassVar[str] = "causal-lm"
    targets: ClassVar[str] = "targets"
    options: ClassVar[dict[str, Any]] = {"return_logits": False}

    def __init__(self, blanks: BlanksSection) -> None:
        super().__init__({})
        self.blanks = blanks

    def feed(self, material: Material) -> Examples:
        """Rows of the texts, each from one document.

        Raises:
            UsageError: a family that does not fill blanks, a tokenizer without their tokens, or
                weights that are all 0.
        """
        _check_family(material)
        spec = material.spec
        self.fill = {self.targets: IGNORED, "input_ids": filling(material.tokenizer)["input_ids"]}
        tokens = BlankTokens.of(material.tokenizer)
        self._infilling(tokens, 0, spec.sequence_length)  # what is wrong with it is said here

        def blanked(number: int, row: TextRow, seed: int, epoch: int | str) -> Example:
            seed = derive_seed(seed, "blanks", epoch)
            return _example(self._infilling(tokens, seed, spec.sequence_length), row, number)

        nothing = "the text has no tokens that could be cut out"
        length = spec.sequence_length - _ROOM
        return redrawn_examples(material, blanked, length=length, nothing=nothing)

    def widest(self, spec: TrainSpec) -> Example:
        """A blank in half of a row."""
        ids = super().widest(spec)["input_ids"]
        half = ids.new_tensor(len(ids) // 2)
        places = ids.expand(2, -1)
        return {"input_ids": ids, self.targets: ids, _PLACES: places, "prefix_lengths": half}

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A batch of examples, filled up at their ends, which nothing before them sees."""
        rest = [{name: each[name] for name in each if name != _PLACES} for each in examples]
        batch = side_by_side(rest, self.fill, self.length)
        width = batch["input_ids"].shape[1]
        places = [F.pad(each[_PLACES], (0, width - each[_PLACES].shape[1])) for each in examples]
        return {**batch, _PLACES: torch.stack(places)}

    def shown(self, example: Example) -> Sequence[Shown]:
        """Part A, and the content of each blank with the token that ends it."""
        ids, targets, part_a = (
            example["input_ids"],
            example[self.targets],
            int(example["prefix_lengths"]),
        )
        begins = (example[_PLACES][1] == 1).nonzero()[:, 0].tolist()
        rows = [Shown(ids[:part_a].tolist(), [False] * part_a, part_a)]
        for begin, stop in pairwise([*begins, len(ids)]):
            rows.append(shown_next(ids[begin:stop], targets[begin:stop]))
        return rows

    def _infilling(self, tokens: BlankTokens, seed: int, length: int) -> BlankInfilling:
        given = self.blanks
        weights = (given.span_weight, given.sentence_weight, given.generation_weight)
        if not any(weights):
            raise UsageError("all weights of blanks are 0", where="blanks", fix="give one of them")
        return BlankInfilling(
            tokens,
            seed,
            length,
            weights,
            ratio=given.share,
            mean_length=given.mean_length,
            min_ratio=given.least_share,
        )


def _check_family(material: Material) -> None:
    """Refuse a family whose positions do not say where a blank is."""
    model_type = material.config.model_type
    if "prefix_lengths" not in get_family(model_type).backbone_class().inputs:
        raise UsageError(
            f"{model_type} does not fill blanks: it has neither a prefix that is seen on both "
            "sides nor positions within blanks",
            where="objective",
            fix="take a model of the family glm; causal-lm has fim for others",
        )


def _example(infilling: BlankInfilling, row: TextRow, number: int) -> Example:
    made = infilling.example(row.ids, number)
    targets = torch.tensor(made.targets)
    targets[: made.sep] = IGNORED
    return {
        "input_ids": torch.tensor(made.ids),
        "targets": targets,
        _PLACES: torch.tensor([made.positions, made.block_positions]),
        "prefix_lengths": torch.tensor(made.sep),
    }
