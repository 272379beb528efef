"""Figures by name: what results have, what they can have, and what is refused."""

import pytest

from tfcli.errors import UsageError, WorkError
from tfcli.recipe.document import parse_document
from tfcli.recipe.recipe import check_recipe
from tfcli.sweep.figures import figure, numbers_in, require_figure

RECIPE = check_recipe(
    parse_document(
        """
steps:
  text: {command: data, source: texts}
  loss: {command: eval, model: m, data: "${text}/test.jsonl"}
""",
        "r.yaml",
    ),
    "r",
)


def test_every_number_has_a_name_and_items_of_lists_go_by_theirs() -> None:
    result = {
        "loss": 1.5,
        "ok": True,
        "splits": {"test": {"bytes": 3}},
        "measures": [{"name": "a/b", "value": 0.5}],
        "list": [1, 2],
    }
    assert dict(numbers_in(result)) == {
        "loss": 1.5,
        "splits.test.bytes": 3,
        "measures.a/b.value": 0.5,
    }


@pytest.mark.parametrize(
    "name", ["loss.perplexity", "text.splits.test.bytes", "loss.compression.xz", "text.documents"]
)
def test_what_a_result_can_have_is_taken(name: str) -> None:
    require_figure(name, RECIPE, "by")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("loss.perplexty", "loss.perplexity"),
        ("los.perplexity", "loss.perplexity"),
        ("text.splits.test.byte", None),
        ("loss.model", None),
        ("perplexity", None),
    ],
)
def test_another_is_refused_with_the_nearest(name: str, nearest: str | None) -> None:
    with pytest.raises(UsageError) as error:
        require_figure(name, RECIPE, "by")
    assert error.value.where == "by"
    if nearest is not None:
        assert f"'{nearest}'" in str(error.value.fix)


def test_a_figure_that_a_result_lacks_is_an_error_with_the_nearest() -> None:
    results = {"loss": {"compression": {"xz": 1.0}}, "text": {"documents": float("nan")}}
    assert figure("loss.compression.xz", results) == 1.0
    with pytest.raises(WorkError) as error:
        figure("loss.compression.gz", results)
    assert "loss.compression.xz" in str(error.value.fix)
    with pytest.raises(WorkError, match="NaN"):
        figure("text.documents", results)
