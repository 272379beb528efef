"""Give answers that were judged one by one what they are worth (Ethayarajh et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from tfcli.errors import UsageError
from tfcli.metrics.spec import KINDS
from tfcli.models.losses import IGNORED
from tfcli.models.output import ModelOutput
from tfcli.train.batch import Batch, Example
from tfcli.train.feeds.columns import Table
from tfcli.train.feeds.pairs import answer_examples, answer_targets, both_answers, shown_answer
from tfcli.train.measures.choose import chosen
from tfcli.train.measures.judged import JudgedMeasure
from tfcli.train.measures.measure import Measure
from tfcli.train.objectives.objective import (
    Forward,
    Frozen,
    Material,
    Shown,
    with_backbones_part,
)
from tfcli.train.objectives.rows import RowObjective
from tfcli.train.objectives.spec import KTOSection
from tfcli.train.preferences import answer_logs, judged_losses
from tfcli.train.spec import TrainSpec

ANSWER, STRANGER = "completion", "stranger"
_WORDS = {"true": True, "1": True, "false": False, "0": False}


class KTO(RowObjective):
    """Examples have `completion` [s], a prompt with its answer, `stranger` [s], the same prompt
    with the answer of the row before, `prompt` [], the length of the prompt, and `labels` [],
    whether the answer is desirable.

    In a batch all answers stand before all strangers, [2b, s], with `targets` as of `Preference`.
    How far the model is from the start (KL) is the mean gain of the strangers of a forward pass, at
    least 0, and has no gradient. So a row's loss depends on the rows that it is beside.

    Args:
        weights: of desirable answers and of the others.
        beta: the scale of rewards.
        batch_size: rows of a forward pass.

    Attributes:
        before: log probabilities [b] of the answers of the last loss, at the start.
    """

    task: ClassVar[str] = "causal-lm"

    def __init__(self, weights: KTOSection, beta: float, batch_size: int) -> None:
        self.weights, self.beta, self.batch_size = weights, beta, batch_size
        self.start: Forward | None = None
        self.before: Tensor | None = None

    def begin(self, frozen: Frozen) -> None:
        """Get the model that training begins with."""
        self.start = frozen(None)

    def examples(self, material: Material, table: Table) -> list[Example]:
        """Prompts with judged answers, and each with the answer of another row."""
        if min(self.batch_size, len(table)) < 2:
            raise UsageError(
                "how far the model is from the start is measured on the answers of other rows, "
                "and a row alone has none",
                where="batch_size" if self.batch_size < 2 else "data",
                fix="at least 2 rows",
            )
        good = [
            _judgement(table, number, each) for number, each in enumerate(table.values("label"))
        ]
        rows = answer_examples(material, table, [ANSWER])
        length = material.spec.sequence_length
        others = [rows[-1], *rows[:-1]]
        return [
            {**row, STRANGER: _stranger(row, other)[:length], "labels": torch.tensor(judged)}
            for row, other, judged in zip(rows, others, good, strict=True)
        ]

    def widest(self, spec: TrainSpec) -> Example:
        """An answer and a stranger as long as a row may be."""
        example = super().widest(spec)
        ids, label = example["input_ids"], example["labels"]
        return {ANSWER: ids, STRANGER: ids, "prompt": ids.new_ones(()), "labels": label == 0}

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Answers and strangers, filled up at their ends, and the `labels` [b]."""
        rows = both_answers(examples, self.fill, (ANSWER, STRANGER))
        prompts = torch.stack([each["prompt"] for each in examples]).repeat(2)
        labels = torch.stack([each["labels"] for each in examples])
        return {**answer_targets(rows, prompts), "labels": labels}

    def measure(self, asked: Sequence[str] | None, material: Material) -> Measure | None:
        """Of the rewards of both kinds of answers."""
        names = chosen(asked, "judgements", KINDS["judgements"], material.console)
        return JudgedMeasure(names, self.rewards) if names else None

    def rewards(self, batch: Batch, output: ModelOutput) -> Tensor:
        """What each answer of the batch whose loss was taken last is worth by it, [b]: `beta`
        times how much likelier it became since the start."""
        assert output.logits is not None, "its head has them"
        assert self.before is not None, "the loss needed them"
        now = answer_logs(output.logits, _halves(batch)[0]["targets"], IGNORED)[0]
        return self.beta * (now - self.before)

    def shown(self, example: Example) -> Sequence[Shown]:
        """The prompt with its answer."""
        return [shown_answer(example[ANSWER], example["prompt"])]

    def loss(self, model: Forward, batch: Batch) -> Tensor:
        """The weighted sum of the rows' losses. The answers' forward pass is the model's last."""
        answers, strangers = _halves(batch)
        with torch.no_grad():
            far = self._logs(model, strangers)[0]
            far_before = self._logs(self._start, strangers)[0]
            self.before = self._logs(self._start, answers)[0]
        kl = (far - far_before).mean().clamp(min=0)
        logs, output = self._logs(model, answers)
        good = batch["labels"]
        losses = judged_losses(logs - self.before, good, kl, self.beta)
        shares = torch.where(good, self.weights.desirable_weight, self.weights.undesirable_weight)
        return with_backbones_part((shares * losses).sum(), output, self.count(batch))

    @property
    def _start(self) -> Forward:
        assert self.start is not None, "`begin` gets it"
        return self.start

    @staticmethod
    def _logs(model: Forward, rows: Mapping[str, Tensor]) -> tuple[Tensor, Any]:
        """The log probabilities of rows' answers [b], and the output of the forward pass."""
        output = model(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"])
        assert output.logits is not None, "its head has them"
        return answer_logs(output.logits, rows["targets"], IGNORED)[0], output


def _halves(batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The answers of a batch, and the strangers."""
    parts = {name: tensor.chunk(2) for name, tensor in batch.items() if name != "labels"}
    first, second = ({name: each[of] for name, each in parts.items()} for of in (0, 1))
    return first, second


def _stranger(row: Example, other: Example) -> Tensor:
    """A row's prompt with the answer of another."""
    return torch.cat([row[ANSWER][: row["prompt"]], other[ANSWER][other["prompt"] :]])


def _judgement(table: Table, number: int, label: Any) -> bool:
    """Whether a label calls an answer desirable, also where a .csv has it as text."""
    found = label if isinstance(label, bool) else _WORDS.get(str(label).lower())
    if found is None:
        raise table.problem(
            number, f"the label {label!r} says neither true (desirable) nor false (undesirable)"
        )
    return found
