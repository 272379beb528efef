"""Find where a context answers a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from tfcli.train.batch import Batch, Example
from tfcli.train.feeds.columns import Table
from tfcli.train.feeds.encoded import TYPES, has_types
from tfcli.train.feeds.spans import answers_of, windows
from tfcli.train.measures.choose import chosen
from tfcli.train.measures.measure import Measure
from tfcli.train.measures.spans import Asked, SpanMeasure
from tfcli.train.objectives.objective import Forward, Material
from tfcli.train.objectives.rows import RowObjective
from tfcli.train.spec import TrainSpec


class QuestionAnswering(RowObjective):
    """Examples have a window's inputs and `labels` [2]: the places of the answer's first and last
    token. Both are that of the token that begins a text where the answer is not in the window.

    The loss of a window is the mean of two cross entropies (Devlin et al. 2019).
    """

    task: ClassVar[str] = "question-answering"
    new_head: ClassVar[bool] = True
    unit: ClassVar[str] = "window"

    def __init__(self) -> None:
        self.asked: Asked | None = None

    def examples(self, material: Material, table: Table) -> list[Example]:
        """Windows of contexts with their questions, and the places of answers."""
        spec, tokenizer, typed = material.spec, material.tokenizer, has_types(material)
        answers = answers_of(table)
        begin = tokenizer.special_ids.get("cls_token")
        examples: list[Example] = []
        found, seen = set(), []
        for number, window in windows(table, tokenizer, spec.sequence_length, spec.stride):
            place = window.place(answers[number])
            if place is not None:
                found.add(number)
            nowhere = window.ids.index(begin) if begin in window.ids else 0
            seen.append((number, window, nowhere))
            ids = torch.tensor(window.ids)
            example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            if typed:
                example[TYPES] = torch.tensor(window.types)
            examples.append({**example, "labels": torch.tensor(place or (nowhere, nowhere))})
        # The validation comes last.
        texts = [list(each["text"]) for each in table.values("answers")]
        self.asked = Asked(seen, table.texts("context"), texts)
        lost = sum(answer is not None for answer in answers) - len(found)
        if lost:
            material.console.warn(
                f"{lost:,} of {len(table):,} answers are whole in no window, and are learned as "
                "if there were none: give a greater stride"
            )
        return examples

    def measure(self, asked: Sequence[str] | None, material: Material) -> Measure | None:
        """Of the best span of each context."""
        names = chosen(asked, "answers", ("exact_match", "answer_f1"), material.console)
        assert self.asked is not None, "`feed` has seen the rows"
        return SpanMeasure(names, self.asked) if names else None

    def widest(self, spec: TrainSpec) -> Example:
        """With two places."""
        return {**super().widest(spec), "labels": torch.zeros(2, dtype=torch.long)}

    def loss(self, model: Forward, batch: Batch) -> Tensor:
        """The sum of the windows' losses. What fills up a batch is no place of an answer, so that a
        window's loss is the same in every batch."""
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        logits = model(**inputs).logits
        assert logits is not None, "its head has them"
        padding = batch["attention_mask"][:, :, None] == 0
        scores = logits.float().masked_fill(padding, -torch.inf)
        return F.cross_entropy(scores, batch["labels"], reduction="sum") / 2
