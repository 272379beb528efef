"""Entities in texts: tags of words, or parts of a text by their characters."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, ClassVar

from tfcli.errors import UsageError
from tfcli.evaluate.heads.kind import Kind
from tfcli.evaluate.heads.kinds.classification import shown
from tfcli.evaluate.heads.labels import Labels
from tfcli.evaluate.tasks.judged import Row
from tfcli.evaluate.tasks.metric import Metric, share
from tfcli.metrics.tags import has_entities

Entity = tuple[str, int, int]
"""A name, the first word or character and the one after the last."""
OUTSIDE = "O"
_PARTS = {"start": int, "end": int, "label": str}


class TokenClassification(Kind):
    """A row has a list of words with as many tags, or with entities that count words; or a text
    with entities that count characters. A word's tag is that of its first token."""

    predict = "token-classification"
    asks = ("text",)
    table: ClassVar = {
        **{
            f"entity_{name}": Metric(f"entity_{name}", "share", True, library=f"entity_{name}")
            for name in ("f1", "precision", "recall")
        },
        "tag_accuracy": Metric("weighted_mean", "share", True),
        "exact_match": share(library="entity_f1"),
    }
    fixed = ("is_split_into_words", "ignore_labels")

    def read_golds(self) -> Sequence[Any]:
        first = self.value(self.rows[0], 0, "text")
        golds = [self.gold(row, number) for number, row in enumerate(self.rows)]
        self.in_words = isinstance(first, list)
        self.in_tags = self.in_words and not any(
            isinstance(each, Mapping) for gold in golds for each in gold or ()
        )
        names, where = self.config.label_names, self.where("gold")
        entities = dict.fromkeys(_name(tag) for tag in names if tag != OUTSIDE)
        known = names if self.in_tags else list(entities)
        self.labels = Labels(known, self.task.file.labels, where)
        self._check_options()
        read = self._tags if self.in_tags else self._entities
        return [read(gold, number) for number, gold in enumerate(golds)]

    def _check_options(self) -> None:
        options, where = self.task.file.options, self.where("options")
        strategy = options.get("aggregation_strategy")
        if self.in_words and strategy is not None:
            raise UsageError(
                "aggregation_strategy has no effect: a word has the tag of its first token",
                where=where,
                code="usage.no_effect",
            )
        if not self.in_words and strategy == "none":
            raise UsageError("entities in a text are made of its tokens, not none", where=where)

    def _tags(self, gold: Any, number: int) -> list[str]:
        words = self.value(self.rows[number], number, "text")
        if not isinstance(gold, list) or len(gold) != len(words):
            size = len(gold) if isinstance(gold, list) else "no list of"
            raise UsageError(
                f"sample {number} has {len(words)} words and {size} tags", where=self.where("gold")
            )
        place = f"sample {number}"
        return [self.labels.names[self.labels.number(each, place)] for each in gold]

    def _entities(self, gold: Any, number: int) -> set[Entity]:
        length = len(self.value(self.rows[number], number, "text"))
        found = set()
        for each in gold or ():
            fits = isinstance(each, Mapping) and all(key in each for key in _PARTS)
            if not fits or not 0 <= each["start"] < each["end"] <= length:
                raise UsageError(
                    f"sample {number} has an entity that is none of its text: {each!r}",
                    where=self.where("gold"),
                    fix="give each as {start: 0, end: 5, label: PER}, with end behind its last one",
                )
            name = self.labels.names[self.labels.number(each["label"], f"sample {number}")]
            found.add((name, each["start"], each["end"]))
        return found

    def usual(self) -> Sequence[str]:
        if self.in_tags and not has_entities(self.config.label_names):
            return ("tag_accuracy",)
        entities = ("entity_f1", "entity_precision", "entity_recall")
        return (*entities, "tag_accuracy" if self.in_tags else "exact_match")

    def check_metrics(self) -> None:
        where = self.where("metric_list")
        for each in self.wanted:
            if each.name == "tag_accuracy" and not self.in_tags:
                raise UsageError("tag_accuracy is of words that all have a tag", where=where)
            needs = each.name.startswith("entity_") or not self.in_tags
            if needs and self.in_words and not has_entities(self.config.label_names):
                raise UsageError(
                    f"{each.name} is of entities, and the model's labels do not say where one "
                    "begins, as B-PER and I-PER do",
                    where=where,
                    fix="use tag_accuracy",
                )

    def options(self) -> dict[str, Any]:
        if self.in_words:
            return {"is_split_into_words": True, "ignore_labels": []}
        strategy = self.task.file.options.get("aggregation_strategy", "simple")
        return {"aggregation_strategy": strategy}

    def judge(self, answers: Sequence[Any]) -> list[Row]:
        found = []
        for question, gold, answer in zip(self.questions(), self.golds, answers, strict=True):
            if not self.in_words:
                said: Any = {(e["entity_group"], e["start"], e["end"]) for e in answer}
            else:
                said = self._of_words(question.inputs["text"], answer)
            items = self._items(gold, said)
            both = [each if self.in_tags else sorted(each) for each in (gold, said)]
            found.append(Row(items, shown(question.inputs), both[0], both[1]))
        return found

    def _of_words(self, words: Sequence[str], tokens: Sequence[Mapping[str, Any]]) -> Any:
        """The tag of each word, or the entities that the tags say. A word that has no token, as one
        past the model's length, has none."""
        gap = len(self.task.file.options.get("delimiter", " "))
        starts = list(accumulate((len(word) + gap for word in words[:-1]), initial=0))
        tags = [OUTSIDE] * len(words)
        for token in reversed(tokens):  # the first one of a word is the last to say
            tags[bisect_right(starts, token["start"]) - 1] = token["entity"]
        return tags if self.in_tags else _entities_of(tags)

    def _items(self, gold: Any, said: Any) -> dict[str, Any]:
        items: dict[str, Any] = {}
        for each in self.wanted:
            if each.name == "tag_accuracy":
                right = sum(one == other for one, other in zip(gold, said, strict=True))
                items[each.label] = (right, len(gold))
            elif each.name == "exact_match":
                items[each.label] = float(gold == said)
            else:
                ours, theirs = (_entities_of(t) if self.in_tags else t for t in (said, gold))
                items[each.label] = (len(ours & theirs), len(ours), len(theirs))
        return items


def _entities_of(tags: Sequence[str]) -> set[Entity]:
    """The entities that seqeval finds in the tags of a text's words."""
    from seqeval.metrics.sequence_labeling import get_entities

    return {(name, first, last + 1) for name, first, last in get_entities(list(tags))}


def _name(tag: str) -> str:
    """What a tag calls an entity."""
    return tag.split("-", 1)[-1]
