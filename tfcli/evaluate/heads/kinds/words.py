"""Texts that are made of media: answers about images, and what is said in recordings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from tfcli.errors import UsageError
from tfcli.evaluate.heads.kind import Kind
from tfcli.evaluate.heads.kinds.answers import texts_of
from tfcli.evaluate.heads.kinds.classification import shown
from tfcli.evaluate.tasks.judge import plain_text
from tfcli.evaluate.tasks.judged import Row
from tfcli.evaluate.tasks.metric import Metric, share
from tfcli.metrics.texts import errors

_AS_PLAIN = ("ignore_case", "ignore_punctuation")
_AGREE = 3
"""People who must say the same for an answer to be right."""
_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_WORDS = {**{word: str(n) for n, word in enumerate(_NUMBERS)}, "none": "0"}
_ARTICLES = ("a", "an", "the")
_WITHIN = re.compile(r"(?<=\d),(?=\d)|(?<!\d)\.|\.(?!\d)|'")
"""Marks that are taken out; other ones part words."""
_MARKS = re.compile(r"[^\w\s.]|_")


class VisualQuestionAnswering(Kind):
    """A row has an image, a question, and an answer or what several people answered."""

    predict = "visual-question-answering"
    asks = ("image", "question")
    media = ("image",)
    table: ClassVar = {"vqa_accuracy": share(), "exact_match": share(*_AS_PLAIN)}
    fixed = ("num_return_sequences",)

    def read_golds(self) -> Sequence[Any]:
        golds = [texts_of(self.gold(row, n)) for n, row in enumerate(self.rows)]
        for number, gold in enumerate(golds):
            if not gold:
                raise UsageError(
                    f"the gold of sample {number} is no answer and no list of answers",
                    where=self.where("gold"),
                )
        return golds

    def usual(self) -> Sequence[str]:
        asked_people = all(len(gold) > _AGREE for gold in self.golds)
        return ("vqa_accuracy",) if asked_people else ("exact_match",)

    def check_metrics(self) -> None:
        for number, gold in enumerate(self.golds):
            if len(gold) <= _AGREE and any(each.name == "vqa_accuracy" for each in self.wanted):
                raise UsageError(
                    f"vqa_accuracy is of more than {_AGREE} people's answers, and sample {number} "
                    f"has {len(gold)}",
                    where=self.where("metric_list"),
                    fix="use exact_match",
                )

    def judge(self, answers: Sequence[Any]) -> list[Row]:
        found = []
        for question, gold, answer in zip(self.questions(), self.golds, answers, strict=True):
            said = answer[0]["answer"]
            items: dict[str, Any] = {}
            for each in self.wanted:
                if each.name == "vqa_accuracy":
                    items[each.label] = vqa_accuracy(said, gold)
                else:
                    ours = plain_text(said, each.options)
                    theirs = [plain_text(text, each.options) for text in gold]
                    items[each.label] = float(ours in theirs)
            found.append(Row(items, shown(question.inputs), gold, said))
        return found


class SpeechRecognition(Kind):
    """A row has a recording and what is said in it."""

    predict = "automatic-speech-recognition"
    asks = ("audio",)
    may_ask: ClassVar[tuple[str, ...]] = ("sampling_rate",)
    media = ("audio",)
    reads_text = False
    table: ClassVar = {
        "wer": Metric("wer", "errors/word", False, _AS_PLAIN, "wer"),
        "cer": Metric("cer", "errors/character", False, _AS_PLAIN, "cer"),
    }
    fixed = ("return_timestamps",)

    def read_golds(self) -> Sequence[Any]:
        golds = [self.gold(row, number) for number, row in enumerate(self.rows)]
        for number, gold in enumerate(golds):
            if not isinstance(gold, str):
                raise UsageError(
                    f"the gold of sample {number} is no text", where=self.where("gold")
                )
        return golds

    def usual(self) -> Sequence[str]:
        return ("wer", "cer")

    def check_metrics(self) -> None:
        for each in self.wanted:
            if not any(plain_text(gold, each.options).strip() for gold in self.golds):
                raise UsageError(
                    f"{each.name} counts errors by what is said, and all golds are empty",
                    where=self.where("gold"),
                )

    def judge(self, answers: Sequence[Any]) -> list[Row]:
        found = []
        for question, gold, answer in zip(self.questions(), self.golds, answers, strict=True):
            said = answer["text"]
            items = {
                each.label: errors(
                    each.name, plain_text(gold, each.options), plain_text(said, each.options)
                )
                for each in self.wanted
            }
            found.append(Row(items, shown(question.inputs), gold, said))
        return found


def vqa_accuracy(said: str, answers: Sequence[str]) -> float:
    """How many people agree, as the VQA challenge counts it (Antol et al. 2015).

    An answer is right when three people gave it; with each of them left out in turn, the mean.
    Numbers up to ten are digits; capitals, articles and marks do not count. The challenge gives
    contractions their apostrophes, and here they lose them on both sides.

    Args:
        said: by the model.
        answers: of the people, more than three.
    """
    ours, theirs = _spelt(said), [_spelt(each) for each in answers]
    same = theirs.count(ours)
    shares = (min(1.0, (same - (each == ours)) / _AGREE) for each in theirs)
    return sum(shares) / len(theirs)


def _spelt(text: str) -> str:
    words = _MARKS.sub(" ", _WITHIN.sub("", text.lower())).split()
    return " ".join(_WORDS.get(word, word) for word in words if word not in _ARTICLES)
