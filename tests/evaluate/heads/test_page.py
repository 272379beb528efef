"""docs/evaluate.md names every kind of task with what it asks and its metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfcli.evaluate.heads.file import OUTPUTS, WITH_MEDIA
from tfcli.evaluate.heads.registry import KINDS
from tfcli.evaluate.tasks.figures import TOGETHER
from tfcli.metrics.spec import METRICS
from tfcli.predict.names import TASKS

PAGE = (Path(__file__).parents[3] / "docs/evaluate.md").read_text()


def test_every_kind_is_there_and_says_what_answers_it():
    assert tuple(sorted(OUTPUTS)) == tuple(sorted(KINDS))
    assert {name for name, kind in KINDS.items() if kind.media} == set(WITH_MEDIA)
    for kind in KINDS.values():
        options = TASKS[kind.predict].options_class().model_fields
        assert set(kind.fixed) <= set(options), kind


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_page_names_columns_and_metrics(output):
    kind = KINDS[output]
    section = PAGE.partition("## Models with heads")[2]
    assert f"| `{output}` |" in section
    for name in (*kind.asks, *kind.may_ask, *kind.table):
        assert f"`{name}`" in section, name
    for name, metric in kind.table.items():
        means = metric.aggregation in ("mean", "weighted_mean", "wer", "cer")
        assert means or metric.aggregation in TOGETHER, name
        assert metric.library is None or metric.library in METRICS
