"""docs/predict.md names every task with its inputs and options."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfcli.generation.keys import GenerationKeys
from tfcli.predict.names import ALIASES, TASKS
from tfcli.predict.options.writing import WritingOptions

PAGE = (Path(__file__).parents[2] / "docs/predict.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("task", TASKS)
def test_the_page_names_its_inputs_and_options(task: str) -> None:
    known = TASKS[task]
    (row,) = [line for line in ROWS if task in line.split("|")[1].replace(",", " ").split()]
    options = known.options_class().model_fields.keys()
    shared = WritingOptions.model_fields if "of writing" in row else {}
    if task == "translation":
        shared = {**WritingOptions.model_fields, **dict.fromkeys(_options("text2text-generation"))}
    for name in options - shared.keys():
        assert name in row, name
    cls = known.task_class()
    for name in (*cls.inputs, *cls.optional):
        assert name in row.split("|")[2], name
    assert ("\N{EN DASH}" in row.split("|")[1]) == (known.model is None)


def _options(task: str) -> list[str]:
    return list(TASKS[task].options_class().model_fields)


def test_the_page_names_the_aliases_and_lengths() -> None:
    assert all(f"`{alias}`" in PAGE for alias in ALIASES)
    for key in WritingOptions.model_fields.keys() - GenerationKeys.model_fields.keys():
        assert key in PAGE
