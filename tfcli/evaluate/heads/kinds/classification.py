"""Labels of texts, images and recordings: one each, several, or a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from tfcli.errors import UsageError
from tfcli.evaluate.heads.kind import Kind, Wanted, require_number
from tfcli.evaluate.heads.labels import Labels
from tfcli.evaluate.tasks.judged import Row
from tfcli.evaluate.tasks.metric import Metric, share

_OF_LABELS = {
    name: Metric(name, "share", True, library=library)
    for name, library in (
        ("f1_macro", "f1"),
        ("f1_micro", "f1_micro"),
        ("f1_weighted", "f1_weighted"),
        ("precision_macro", "precision"),
        ("recall_macro", "recall"),
    )
}
ONE: dict[str, Metric] = {
    "acc": share(),
    "acc_top_k": share("k"),
    "balanced_accuracy": Metric("balanced_accuracy", "share", True, library="balanced_accuracy"),
    "f1": Metric("f1", "share", True, ("positive",), library="f1"),
    **_OF_LABELS,
    "mcc": Metric("matthews_corrcoef", "", True, library="matthews"),
    "roc_auc": Metric("roc_auc", "share", True, ("positive",), library="f1"),
    "ece": Metric("ece", "share", False),
    "brier_score": Metric("brier_score", "", False),
}
SEVERAL: dict[str, Metric] = {"acc": ONE["acc"], **_OF_LABELS}
NUMBER: dict[str, Metric] = {
    "mse": Metric("mean", "", False),
    "mae": Metric("mean", "", False),
    "pearson": Metric("pearson", "", True, library="pearson"),
    "spearman": Metric("spearman", "", True, library="spearman"),
    "r2": Metric("r2", "", True, library="r2"),
}
_FORMS = {"one": ONE, "several": SEVERAL, "number": NUMBER}
_SAID = {"one": "one label", "several": "several labels", "number": "a number"}
_USUAL = {
    "one": ("acc", "f1_macro"),
    "several": ("acc", "f1_micro", "f1_macro"),
    "number": ("mse", "pearson", "spearman"),
}
_FUNCTION = {"one": "softmax", "several": "sigmoid", "number": "none"}
Answer = list[dict[str, Any]]
"""All labels with their scores, the best first."""
Judgement = tuple[dict[str, Any], Any, Any]
"""Items, what is right, and what is told of the answer."""
_ON_ONE = ("f1", "roc_auc")
"""Metrics of one label against the others."""


class TextClassification(Kind):
    """A row has one label, a list of labels, or a number where the model gives one."""

    predict = "text-classification"
    asks = ("text",)
    may_ask: ClassVar[tuple[str, ...]] = ("text_pair",)
    table: ClassVar = {**ONE, **SEVERAL, **NUMBER}
    fixed = ("top_k", "function_to_apply")
    k = 5

    def read_golds(self) -> Sequence[Any]:
        config, file = self.config, self.task.file
        golds = [self.gold(row, number) for number, row in enumerate(self.rows)]
        where = self.where("gold")
        numbers = config.problem_type == "regression" or config.num_labels == 1
        self.form = "number" if numbers else "several" if isinstance(golds[0], list) else "one"
        if self.form != "several" and "threshold" in file.model_fields_set:
            raise UsageError(
                "threshold has no effect: no sample has a list of labels",
                where=self.where("threshold"),
                code="usage.no_effect",
            )
        if numbers:
            if config.num_labels != 1:
                raise UsageError(
                    f"the model gives {config.num_labels} numbers, and one is compared", where=where
                )
            return [require_number(gold, where, number) for number, gold in enumerate(golds)]
        self.labels = Labels(config.label_names, file.labels, where)
        for number, gold in enumerate(golds):
            if isinstance(gold, list) != (self.form == "several"):
                raise UsageError(
                    f"some samples have a list of labels, and sample {number} differs", where=where
                )
        if self.form == "several":
            return [self._row(gold, number) for number, gold in enumerate(golds)]
        return [self.labels.number(gold, f"sample {n}") for n, gold in enumerate(golds)]

    def _row(self, gold: list[Any], number: int) -> list[int]:
        right = {self.labels.number(each, f"sample {number}") for each in gold}
        return [int(label in right) for label in range(len(self.labels.names))]

    def usual(self) -> Sequence[str]:
        return _USUAL[self.form]

    def check_metrics(self) -> None:
        fitting, where = _FORMS[self.form], self.where("metric_list")
        for each in self.wanted:
            if each.name not in fitting:
                raise UsageError(
                    f"{each.name} does not fit: each sample has {_SAID[self.form]}",
                    where=where,
                    fix=f"known: {', '.join(fitting)}",
                )
            if each.name in _ON_ONE:
                positive = self._positive(each)
                if each.name == "roc_auc" and len({gold == positive for gold in self.golds}) < 2:
                    raise UsageError(
                        f"roc_auc needs samples with the label {self.labels.names[positive]!r} and "
                        "without it",
                        where=where,
                    )

    def _positive(self, wanted: Wanted) -> int:
        """The label that is told from the others: the second of two where none is named."""
        where = self.where("metric_list")
        if "positive" in wanted.options:
            return self.labels.number(wanted.options["positive"], f"positive of {wanted.name}")
        if len(self.labels.names) != 2:
            raise UsageError(
                f"{wanted.name} is of one label, and the model has {len(self.labels.names)}",
                where=where,
                fix=f"{{metric: {wanted.name}, positive: {self.labels.names[0]}}}, or f1_macro",
            )
        return 1

    def options(self) -> dict[str, Any]:
        return {"top_k": None, "function_to_apply": _FUNCTION[self.form]}

    def judge(self, answers: Sequence[Any]) -> list[Row]:
        judges: dict[str, Callable[[Any, Answer], Judgement]] = {
            "one": self._one,
            "several": self._several,
            "number": self._number,
        }
        judge = judges[self.form]
        found = []
        for question, gold, answer in zip(self.questions(), self.golds, answers, strict=True):
            items, target, said = judge(gold, answer)
            found.append(Row(items, shown(question.inputs), target, said))
        return found

    def _one(self, gold: int, answer: Answer) -> Judgement:
        names = self.labels.names
        by_name = {each["label"]: each["score"] for each in answer}
        shares = [by_name[name] for name in names]
        order = [names.index(each["label"]) for each in answer]
        items: dict[str, Any] = {}
        for each in self.wanted:
            if each.name == "acc":
                items[each.label] = float(order[0] == gold)
            elif each.name == "acc_top_k":
                items[each.label] = float(gold in order[: each.k])
            elif each.name in ("ece", "brier_score"):
                items[each.label] = (gold, shares)
            elif each.name == "f1":
                positive = self._positive(each)
                items[each.label] = (gold == positive, order[0] == positive)
            elif each.name == "roc_auc":
                positive = self._positive(each)
                items[each.label] = (gold == positive, shares[positive])
            else:
                items[each.label] = (gold, order[0])
        return items, names[gold], answer[0]

    def _several(self, gold: list[int], answer: Answer) -> Judgement:
        names, least = self.labels.names, self.task.file.threshold
        held = {each["label"]: each["score"] for each in answer if each["score"] > least}
        said = [int(name in held) for name in names]
        items = {
            each.label: float(said == gold) if each.name == "acc" else (gold, said)
            for each in self.wanted
        }
        return items, [name for name, holds in zip(names, gold, strict=True) if holds], held

    def _number(self, gold: float, answer: Answer) -> Judgement:
        said = answer[0]["score"]
        single = {"mse": (said - gold) ** 2, "mae": abs(said - gold)}
        items = {each.label: single.get(each.name, (gold, said)) for each in self.wanted}
        return items, gold, said


class ImageClassification(TextClassification):
    """The same of an image."""

    predict = "image-classification"
    asks = ("image",)
    may_ask = ()
    media = ("image",)
    reads_text = False


class AudioClassification(TextClassification):
    """The same of a recording."""

    predict = "audio-classification"
    asks = ("audio",)
    may_ask = ("sampling_rate",)
    media = ("audio",)
    reads_text = False


def shown(inputs: Any) -> str:
    """What was asked, as a report shows it: each part on a line of its own, bytes by their size."""
    return "\n".join(_line(value) for value in inputs.values())


def _line(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("path") or value.get("bytes")
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return " ".join(value)
    return value if isinstance(value, str) else f"{type(value).__name__}"
