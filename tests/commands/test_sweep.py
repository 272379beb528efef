"""`tfcli sweep`: the table, the best recipe, what is shared, what fails, and going on."""

import json
from pathlib import Path

import pytest

from tfcli.commands import sweep as command
from tfcli.commands.app import run

RECIPE = """\
name: demo
steps:
  text:
    command: data
    source: texts
    validation: 0.2
    test: 0.2
  words:
    command: tokenizer
    data: ${text}/train.jsonl
sweep:
  grid:
    steps.words.vocab_size: [280, 300, 320]
  by: words.bytes_per_token
  goal: highest
  against: words.vocab_size
"""


@pytest.fixture
def tfcli(tmp_path, monkeypatch, capsys):
    """A folder with a recipe and its text; runs a command line there and gives its JSON."""
    monkeypatch.chdir(tmp_path)
    Path("texts").mkdir()
    for n in range(8):
        lines = [f"Text {n}, paragraph {m}, says something of its own." for m in range(40)]
        Path(f"texts/{n}.txt").write_text("\n\n".join(lines))
    Path("r.yaml").write_text(RECIPE)

    def call(*words: str, code: int = 0) -> dict:
        capsys.readouterr()
        assert run([*words, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return call


def test_a_sweep_ends_in_a_table_a_plot_and_the_best_recipe(tfcli):
    result = tfcli("sweep", "r.yaml")
    assert [point["number"] for point in result["points"]] == [3, 2, 1]
    assert result["best"] == 3
    assert [point["front"] for point in result["points"]] == [True] * 3
    root = Path("runs/demo-sweep")
    assert json.loads((root / "sweep.json").read_text()) == result
    rows = [line for line in (root / "sweep.md").read_text().splitlines() if line[:1] == "|"]
    heads = "| point | words.vocab\\_size | words.bytes\\_per\\_token | words.vocab\\_size |"
    assert rows[0].startswith(heads)
    assert [row.split("|")[2].strip() for row in rows[2:]] == ["320", "300", "280"]
    assert "<svg" in (root / "sweep.html").read_text()

    best = tfcli("run", result["best_recipe"])
    assert [step["reused"] for step in best["steps"]] == [False, False]
    made = best["steps"][1]["result"]
    assert (made["vocab_size"], made["bytes_per_token"]) == (320, result["points"][0]["value"])


def test_points_share_the_steps_that_they_agree_in(tfcli):
    result = tfcli("sweep", "r.yaml")
    assert {point["folders"]["text"] for point in result["points"]} == {"runs/demo-sweep/text"}
    plan = tfcli("sweep", "r.yaml", "--dry-run", "--grid", "steps.words.vocab_size=300,340")
    assert [step["plan"] for step in plan["steps"]] == ["up to date", "up to date", "run"]


def test_a_sweep_that_was_stopped_goes_on(tfcli, monkeypatch):
    def stopped(points, *others):
        yield from real(points[:2], *others)
        raise KeyboardInterrupt

    real = command.run_points
    monkeypatch.setattr(command, "run_points", stopped)
    tfcli("sweep", "r.yaml", code=130)
    left = json.loads(Path("runs/demo-sweep/sweep.json").read_text())
    assert sorted(point["status"] for point in left["points"]) == ["done", "done", "to come"]
    monkeypatch.setattr(command, "run_points", real)
    plan = tfcli("sweep", "r.yaml", "--dry-run")
    assert [step["plan"] for step in plan["steps"]] == [*["up to date"] * 3, "run"]
    assert tfcli("sweep", "r.yaml")["best"] == 3


def test_a_point_that_fails_is_recorded_and_the_rest_goes_on(tfcli):
    Path("broken.txt").write_bytes(b"\xff\xfe\xfa\xfb" * 9)
    grid = ("--grid", "steps.text.source=broken.txt,texts")
    result = tfcli("sweep", "r.yaml", *grid)
    assert [point["status"] for point in result["points"]] == ["done"] * 3 + ["failed"] * 3
    assert {point["error"]["step"] for point in result["points"][3:]} == {"text"}
    assert "failed in text" in Path("runs/demo-sweep/sweep.md").read_text()

    error = tfcli("sweep", "r.yaml", "--grid", "steps.text.source=broken.txt", code=1)["error"]
    assert error["what"].startswith("all 3 points failed; the first: ")


def test_flags_alone_sweep_a_recipe_for_one_command(tfcli):
    Path("words.yaml").write_text("{command: tokenizer, data: texts}")
    flags = ("--by", "tokenizer.bytes_per_token", "--goal", "highest", "--output", "out")
    result = tfcli("sweep", "words.yaml", "--grid", "vocab_size=280,300", *flags)
    assert result["points"][0]["settings"] == {"vocab_size": 300}
    assert result["against"] is None
    again = tfcli("run", "out/best.yaml")
    assert again["steps"][0]["result"]["vocab_size"] == 300


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (("--by", "words.bytes_per_tokens"), "no step has a figure 'words.bytes_per_tokens'"),
        (("--against", "word.vocab_size"), "no step has a figure 'word.vocab_size'"),
        (("--goal", "best"), "should be 'lowest' or 'highest'"),
        (("--grid", "steps.words.vocab_size"), "not of the form"),
        (("--grid", "output=a,b"), "cannot be swept"),
        (("--grid", "steps.words.vocab_size=1"), "at words.vocab_size 1"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_the_work(tfcli, flags, what):
    assert what in tfcli("sweep", "r.yaml", *flags, code=2)["error"]["what"]
    assert not Path("runs").exists()


def test_a_recipe_without_the_section_needs_the_flags(tfcli):
    Path("r.yaml").write_text(RECIPE.partition("sweep:")[0])
    found = tfcli("sweep", "r.yaml", code=2)["error"]["errors"]
    assert {error["what"] for error in found} == {"'by' is required", "'goal' is required"}


def test_files_that_no_sweep_made_are_left_alone(tfcli):
    Path("runs/demo-sweep").mkdir(parents=True)
    Path("runs/demo-sweep/sweep.md").write_text("mine")
    error = tfcli("sweep", "r.yaml", code=2)["error"]
    assert error["code"] == "output.not_empty"
    assert Path("runs/demo-sweep/sweep.md").read_text() == "mine"


def test_a_run_takes_the_recipe_as_it_is_and_validate_checks_the_section(tfcli):
    assert len(tfcli("run", "r.yaml")["steps"]) == 2
    Path("r.yaml").write_text(RECIPE.replace("goal: highest", "gaol: highest"))
    found = tfcli("recipe", "validate", "r.yaml", code=2)["error"]["errors"]
    assert {error["what"] for error in found} == {"unknown key 'gaol'", "'goal' is required"}
    assert found[-1]["where"].startswith("r.yaml:")
