"""The points of a sweep: combinations, folders that are shared, and what is refused."""

import pytest

from tfcli.errors import UsageError
from tfcli.recipe.document import parse_document
from tfcli.recipe.sweep_section import SweepSection
from tfcli.sweep.points import plan_points, settings_of, shown

RECIPE = """\
name: demo
steps:
  text: {command: data, source: texts}
  words: {command: tokenizer, data: "${text}/train.jsonl", vocab_size: 300}
  more: {command: tokenizer, data: "${text}/test.jsonl"}
"""
DOCUMENT = parse_document(RECIPE, "r.yaml")


def section(**keys) -> SweepSection:
    return SweepSection(by="words.vocab_size", goal="lowest", **keys)


def folders(**keys) -> list[dict[str, str]]:
    points = plan_points(DOCUMENT, "demo", section(**keys), "out", {})
    return [{step.name: str(step.spec.target()) for step in point.recipe.steps} for point in points]


def test_a_grid_is_every_combination_and_points_come_after_it() -> None:
    swept = section(
        grid={"steps.words.vocab_size": [280, 300], "steps.text.seed": [1, 2]},
        points=[{"steps.text.test": 0.3}, {"steps.text.seed": 1, "steps.words.vocab_size": 280}],
    )
    found = [shown(each) for each in settings_of(DOCUMENT, swept)]
    assert found == [
        "words.vocab_size 280, text.seed 1",
        "words.vocab_size 280, text.seed 2",
        "words.vocab_size 300, text.seed 1",
        "words.vocab_size 300, text.seed 2",
        "text.test 0.3",
    ]


def test_steps_have_one_folder_where_nothing_that_decides_them_differs() -> None:
    one, other = folders(grid={"steps.words.vocab_size": [280, 300]})
    assert one["text"] == other["text"] == "out/text"
    assert one["more"] == other["more"] == "out/more"
    assert one["words"] != other["words"]


def test_a_step_that_reads_from_another_one_differs_with_it() -> None:
    one, other = folders(grid={"steps.text.seed": [1, 2]})
    assert all(one[name] != other[name] for name in ("text", "words", "more"))


def test_whole_steps_in_place_of_one_have_folders_of_their_own() -> None:
    steps = [{"command": "tokenizer", "data": "a.txt", "vocab_size": size} for size in (280, 290)]
    one, other = folders(grid={"steps.words": steps})
    assert one["words"] != other["words"] and one["text"] == other["text"] == "out/text"


def test_a_larger_grid_keeps_the_folders() -> None:
    small = folders(grid={"steps.words.vocab_size": [280, 300]})
    assert small == folders(grid={"steps.words.vocab_size": [260, 280, 300]})[1:]


def test_references_lead_to_the_points_own_folders() -> None:
    points = plan_points(DOCUMENT, "demo", section(grid={"steps.text.seed": [1, 2]}), "out", {})
    for point in points:
        text, words, _ = (step.spec for step in point.recipe.steps)
        assert words.data == f"{text.output}/train.jsonl"


def test_a_recipe_for_one_command_is_swept_by_its_own_keys() -> None:
    document = parse_document("{command: tokenizer, data: a.txt}", "r.yaml")
    points = plan_points(document, "r", section(grid={"vocab_size": [280, 300]}), "out", {})
    assert [step.spec.vocab_size for point in points for step in point.recipe.steps] == [280, 300]
    assert len({step.spec.output for point in points for step in point.recipe.steps}) == 2


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("output", "cannot be swept"),
        ("steps.text.output", "cannot be swept"),
        ("steps.words.vocab_sise", "unknown key 'vocab_sise'"),
        ("steps.word.vocab_size", "needs a 'command'"),
    ],
)
def test_a_key_that_no_step_has_is_refused(key: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        folders(grid={key: [1]})


def test_a_wrong_point_is_named_by_its_settings() -> None:
    with pytest.raises(UsageError) as error:
        folders(grid={"steps.words.vocab_size": [300, 1]})
    assert error.value.what.startswith("at words.vocab_size 1: ")
