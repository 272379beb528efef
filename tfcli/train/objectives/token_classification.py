"""Label each word of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from tfcli.errors import UsageError
from tfcli.metrics.tags import has_entities
from tfcli.models.losses import IGNORED
from tfcli.train.batch import Example
from tfcli.train.feeds.columns import Table, examples_of
from tfcli.train.feeds.encoded import encode, filling, inputs_of
from tfcli.train.labels import Labels, check_labels, numbers_of
from tfcli.train.measures.choose import chosen
from tfcli.train.measures.labels import TagMeasure
from tfcli.train.measures.measure import Measure
from tfcli.train.objectives.objective import Examples, Material, TokenObjective


class TokenClassification(TokenObjective):
    """Examples have a text's inputs and `labels` [s]: the number of a word's tag at its first
    subword, -100 at its others and at special tokens."""

    task: ClassVar[str] = "token-classification"
    new_head: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__({})
        self.names: Labels | None = None

    def feed(self, material: Material) -> Examples:
        """Rows of words with tags, as many of these as of those."""
        self.fill = {self.targets: IGNORED, **filling(material.tokenizer)}
        return examples_of(material.spec, lambda table: self._examples(material, table))

    def measure(self, asked: Sequence[str] | None, material: Material) -> Measure | None:
        """Of tags, and of entities where tags say where these begin."""
        assert self.names is not None, "`feed` has seen the tags"
        tags = self.names.names
        usual = ("tag_accuracy", "entity_f1") if has_entities(tags) else ("tag_accuracy",)
        names = chosen(asked, "tags", usual, material.console)
        if not has_entities(tags) and names and names != ["tag_accuracy"]:
            raise UsageError(
                "the tags do not say where entities begin, as B-PER and I-PER do",
                where="metrics",
                fix="metrics: [tag_accuracy]",
            )
        return TagMeasure(names, tags) if names else None

    def _examples(self, material: Material, table: Table) -> list[Example]:
        words, tags = table.text_lists("tokens"), self._tags(material, table)
        for number, (row, of_row) in enumerate(zip(words, tags, strict=True)):
            if len(row) != len(of_row):
                raise table.problem(
                    number, f"there are {len(row):,} tokens and {len(of_row):,} tags"
                )
            if not row:
                raise table.problem(number, "there are no tokens", "leave the row out")
        batch = encode(material, table, words, words=True)
        assert batch.word_ids is not None, "words were asked for"
        labels = map(at_first_subwords, batch.word_ids, tags)
        inputs = inputs_of(material, batch)
        return [{**row, self.targets: label} for row, label in zip(inputs, labels, strict=True)]

    def _tags(self, material: Material, table: Table) -> list[list[int]]:
        lists = _lists(table)
        if self.names is None:
            self.names = Labels.first(material.config, self.task, table, _lists)
            self.config_keys = self.names.config_keys
        return [numbers_of(table, number, row, self.names) for number, row in enumerate(lists)]


def _lists(table: Table) -> list[list[Any]]:
    """The tags of each row of a table."""
    lists = table.lists("tags")
    for number, row in enumerate(lists):
        check_labels(table, number, row)
    return lists


def at_first_subwords(word_ids: Sequence[int | None], tags: Sequence[int]) -> Tensor:
    """Where each tag is learned.

    Args:
        word_ids: the word of each token, None for special tokens.
        tags: one for each word.

    Returns:
        [s] int64, -100 but at the first token of each word
    """
    before: list[int | None] = [None, *word_ids]
    places = zip(before, word_ids, strict=False)
    return torch.tensor(
        [IGNORED if word is None or word == last else tags[word] for last, word in places]
    )
