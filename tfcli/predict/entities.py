"""From a label of each token to entities: the strategies of transformers' token classification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Join = Callable[[Sequence[str]], str]
"""From tokens to the text that they stand for."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A token, or a word that has one label.

    Args:
        text: the token as the vocabulary has it; of a word its text.
        scores (Tensor): [labels]; of a word those by which its label was chosen.
        start, end: its first character and the one after its last.
        index: its place in the window; None of a word.
        continues: whether it belongs to the word of the token before.
    """

    text: str
    scores: Tensor
    start: int
    end: int
    index: int | None
    continues: bool = False


def words_of(pieces: Sequence[Piece], strategy: str, join: Join) -> list[Piece]:
    """Words in place of tokens, each with one label.

    Args:
        pieces: tokens.
        strategy: a word has the label of its `first` token, that of the `average` scores, or of
            the token whose best score is the `max`imum.
        join: makes the word's text.
    """
    groups: list[list[Piece]] = []
    for piece in pieces:
        if groups and piece.continues:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return [
        Piece(
            join([piece.text for piece in group]),
            _scores(group, strategy),
            group[0].start,
            group[-1].end,
            None,
        )
        for group in groups
    ]


def _scores(group: Sequence[Piece], strategy: str) -> Tensor:
    if strategy == "first":
        return group[0].scores
    if strategy == "max":
        return max(group, key=lambda piece: float(piece.scores.max())).scores
    return torch.stack([piece.scores for piece in group]).mean(0)


def labelled(pieces: Sequence[Piece], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Each piece with its best label: `entity`, `score`, `index` of a token, `word`, `start`,
    `end`."""
    found = []
    for piece in pieces:
        best = int(piece.scores.argmax())
        index = {} if piece.index is None else {"index": piece.index}
        found.append(
            {
                "entity": labels[best],
                "score": float(piece.scores[best]),
                **index,
                "word": piece.text,
                "start": piece.start,
                "end": piece.end,
            }
        )
    return found


def grouped(entities: Sequence[dict[str, Any]], join: Join) -> list[dict[str, Any]]:
    """Neighbours of one tag as one entity; a `B-` begins another one."""
    groups: list[list[dict[str, Any]]] = []
    for entity in entities:
        begins, tag = _tag(entity["entity"])
        if groups and not begins and tag == _tag(groups[-1][-1]["entity"])[1]:
            groups[-1].append(entity)
        else:
            groups.append([entity])
    return [
        {
            "entity_group": group[0]["entity"].split("-", 1)[-1],
            "score": sum(entity["score"] for entity in group) / len(group),
            "word": join([entity["word"] for entity in group]),
            "start": group[0]["start"],
            "end": group[-1]["end"],
        }
        for group in groups
    ]


def _tag(label: str) -> tuple[bool, str]:
    """Whether a label begins an entity, and its tag. One without a mark goes on with it."""
    if label.startswith(("B-", "I-")):
        return label[0] == "B", label[2:]
    return False, label


def without_overlaps(entities: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of entities that windows have in common, the longest, and of equals the surest."""
    kept: list[dict[str, Any]] = []
    for entity in sorted(entities, key=lambda each: each["start"]):
        last = kept[-1] if kept else None
        if last is None or not last["start"] <= entity["start"] < last["end"]:
            kept.append(entity)
        elif _weight(entity) > _weight(last):
            kept[-1] = entity
    return kept


def _weight(entity: dict[str, Any]) -> tuple[int, float]:
    return entity["end"] - entity["start"], entity["score"]
