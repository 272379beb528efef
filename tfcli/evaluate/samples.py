"""What was measured of each sample, as a file beside the result."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tfcli.errors import WorkError

FILE = "samples.jsonl"


class Sample(BaseModel):
    """One sample.

    Args:
        id: its number in the data.
        task: that it is of.
        cluster: samples of one cluster may all err alike; None: it is its own.
        scores: measure -> its part of it. A measure that is a mean is the mean of these, each
            counted by its weight; one that is no mean has none.
        weights: measure -> what it counts there, where that is not 1: tokens, bytes.
        prompt: what the model read.
        target: what is right.
        answer: what the model gave.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    task: str
    cluster: str | None
    scores: dict[str, float]
    weights: dict[str, float] = {}
    prompt: str = ""
    target: Any = None
    answer: Any = None


def write_samples(samples: Iterable[Sample], folder: Path) -> None:
    """Write a line for each sample."""
    with (folder / FILE).open("w", encoding="utf-8") as file:
        for sample in samples:
            file.write(sample.model_dump_json() + "\n")


def read_samples(folder: Path) -> list[Sample]:
    """The samples of a finished eval; none where it kept none.

    Raises:
        WorkError: a sample without a finite score, or of another version.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    try:
        return [Sample.model_validate_json(line) for line in lines if line]
    except ValidationError as error:
        raise WorkError(
            f"a sample has no finite score, or is of another version of tfcli: "
            f"{error.errors()[0]['msg'].lower()}",
            where=str(path),
            fix="run that step again",
        ) from error
