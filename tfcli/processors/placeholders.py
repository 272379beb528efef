"""Placeholders in a text: as many as there are media, each made as long as its medium is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfcli.errors import UsageError, WorkError
from tfcli.limits import MAX_FEATURES
from tfcli.processors.images.pixels import flat_images


@dataclass(frozen=True)
class Placeholder:
    """How one kind of media stands in a text.

    Args:
        token: where a medium belongs, in the text that is given.
        feature: one of its features, in the text that the model reads.
        around: tokens that surround the features there.
    """

    token: str
    feature: str
    around: tuple[str, ...] = ()


def image_counts(images: Any, texts: Sequence[str] | None) -> list[int]:
    """How many images each text has, where they come as a list for each; else how many in all."""
    nested = isinstance(images, list | tuple) and all(
        isinstance(each, list | tuple) for each in images
    )
    if nested and (texts is None or len(images) == len(texts)):
        return [len(flat_images(each)) if each else 0 for each in images]
    return [len(flat_images(images))]


def check_counts(texts: Sequence[str], token: str, media: Sequence[int], medium: str) -> None:
    """Refuse a placeholder without its medium, and a medium without its placeholder.

    Args:
        texts: the texts. token: the placeholder. medium: its name, for errors.
        media: how many media belong to each text; one number: to all together.

    Raises:
        UsageError: naming both counts.
    """
    found = [text.count(token) for text in texts]
    if len(media) == 1:
        found = [sum(found)]
    for at, (placeholders, given) in enumerate(zip(found, media, strict=True)):
        if placeholders != given:
            raise UsageError(
                f"there are {placeholders} placeholders {token} in the text, "
                f"and {given} {medium}s are given",
                where=f"text[{at}]" if len(media) > 1 else "text",
                fix=f"put one {token} where each {medium} belongs",
            )


def repeated(token: str, count: int, times: int = 1) -> str:
    """A token for each feature of a medium.

    Args:
        token: of one feature. count: of them. times: how often the run will stand in the text.

    Raises:
        WorkError: none, or more than any model reads.
    """
    if not 0 < count * times <= MAX_FEATURES:
        raise WorkError(
            f"{count * times:,} tokens {token} would stand for one medium, not 1..{MAX_FEATURES:,}",
            where="text",
            fix="the processor's settings and the image do not fit together",
        )
    return token * count


def expand(texts: Sequence[str], runs: Mapping[str, Sequence[str]]) -> list[str]:
    """Texts with every placeholder replaced, in order.

    Args:
        texts: the texts.
        runs: placeholder -> what stands for each medium, over all texts.
    """
    if not runs:
        return list(texts)
    waiting: dict[str, Iterator[str]] = {token: iter(each) for token, each in runs.items()}
    pattern = re.compile("|".join(map(re.escape, waiting)))
    return [pattern.sub(lambda found: next(waiting[found[0]]), text) for text in texts]


def refuse_cut_runs(
    whole: Sequence[Sequence[int]], cut: Sequence[Sequence[int]], ids: Mapping[int, str]
) -> None:
    """Refuse a text that was cut within the features of a medium, or that lost a medium.

    Args:
        whole, cut: the ids of each text before and after.
        ids: those that stand for features or surround them -> their medium, for errors.

    Raises:
        WorkError: naming the first such text.
    """
    for at, (before, after) in enumerate(zip(whole, cut, strict=True)):
        for token, medium in ids.items():
            needed, left = list(before).count(token), list(after).count(token)
            if needed != left:
                raise WorkError(
                    f"a text of {len(before):,} ids, {needed:,} of which stand for {medium}s, "
                    f"would be cut to {len(after):,} and keep {left:,} of these",
                    where=f"text[{at}]",
                    fix=f"raise max_length, shorten the text, or give smaller or fewer {medium}s",
                )
