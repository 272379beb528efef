"""`tfcli predict` from the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

import tfcli
from tests.predict.support import TEXTS, close
from tfcli.commands.app import run
from tfcli.console import Console
from tfcli.errors import UsageError, WorkError
from tfcli.predict import run as module
from tfcli.predict.lines import resume
from tfcli.predict.names import TASKS
from tfcli.predict.spec import PredictSpec
from tfcli.recipe.execute import execute

TASK = "sentiment-analysis"


@pytest.fixture
def rows(tmp_path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [{"id": n, "text": text} for n, text in enumerate(TEXTS * 3)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def predict(capsys, classifier):
    """Runs the command; gives its exit code, standard output and standard error."""

    def call(*flags, model=classifier):
        capsys.readouterr()
        code = run(["predict", "--task", TASK, str(model), *map(str, flags)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_for_each_row_in_their_order(predict, classifier, rows, tmp_path) -> None:
    out = tmp_path / "out.jsonl"
    code, shown, _ = predict("--input", rows, "-o", out, "--keep", "id", "--json")
    result = json.loads(shown)
    assert (code, result["schema"], result["rows"], result["failed"]) == (
        0,
        "tfcli.predict/1",
        9,
        0,
    )
    found = lines_of(out)
    assert [(line["row"], line["id"]) for line in found] == [(n, n) for n in range(9)]
    assert close([line["output"] for line in found], tfcli.pipeline(TASK, classifier)(TEXTS * 3))
    code, _, err = predict("--input", rows, "-o", out, "--keep", "id")
    assert code == 0 and "up to date" in err
    code, _, err = predict("--input", rows, "-o", out)
    assert code == 2 and "made by another predict run" in err
    code, _, err = predict("--input", rows, "-o", tmp_path / "b.jsonl", "--keep", "ids")
    assert code == 2 and "no column 'ids'" in err


def test_lines_on_standard_output_and_rows_on_standard_input(predict, rows, monkeypatch) -> None:
    code, shown, err = predict("--input", rows, "-o", "-", "--set", "options.top_k=2")
    found = [json.loads(line) for line in shown.splitlines()]
    assert code == 0 and len(found) == 9 and all(len(line["output"]) == 2 for line in found)
    assert "9 rows" in err
    code, _, err = predict("--input", rows, "-o", "-", "--json")
    assert code == 2
    assert PredictSpec(task=TASK, model="m", input="-", output="-").input == "/dev/stdin"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_with_columns_of_other_names(predict, tmp_path, kind) -> None:
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.parquet as parquet

    table, path = pa.table({"review": TEXTS}), tmp_path / f"rows.{kind}"
    csv.write_csv(table, path) if kind == "csv" else parquet.write_table(table, path)
    out = tmp_path / "out.jsonl"
    code, _, err = predict("--input", path, "-o", out, "--set", "columns.text=review")
    assert code == 0 and len(lines_of(out)) == 3, err
    code, _, err = predict("--input", path, "-o", tmp_path / "b.jsonl")
    assert code == 1 and "the row has no 'text'" in err and f"rows.{kind}" in err
    code, _, err = predict(
        "--input", path, "-o", tmp_path / "c.jsonl", "--set", "columns.txt=review"
    )
    assert code == 2 and "no input 'txt'" in err


def test_bad_rows_stop_or_stand_in_their_place(predict, tmp_path) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text('{"text": "a"}\n{"text": 3}\nnot json\n{"other": "b"}\n{"text": "c"}\n')
    code, _, err = predict("--input", rows, "-o", out)
    assert code == 1 and "'text' is int" in err and "rows.jsonl:2" in err and not out.exists()
    code, shown, err = predict(
        "--input", rows, "-o", out, "--on-error", "skip", "--force", "--json"
    )
    assert code == 0, err
    found, result = lines_of(out), json.loads(shown)
    assert ["error" in line for line in found] == [False, True, True, True, False]
    assert [bad["row"] for bad in result["bad_rows"]] == [1, 2, 3] and result["failed"] == 3


def test_an_interrupted_run_goes_on_where_it_was(classifier, rows, tmp_path, monkeypatch) -> None:
    spec = PredictSpec(
        task=TASK, model=str(classifier), input=str(rows), output=str(tmp_path / "out.jsonl"),
        batch_size=2,
    )  # fmt: skip
    real, asked = module.line_of, []

    def failing(number, answer):
        asked.append(number)
        if number == 5:
            raise KeyboardInterrupt
        return real(number, answer)

    monkeypatch.setattr(module, "line_of", failing)
    with pytest.raises(KeyboardInterrupt):
        execute(spec, Console.silent())
    partial = tmp_path / ".out.jsonl.partial" / "out.jsonl"
    assert len(lines_of(partial)) == 5 and not (tmp_path / "out.jsonl").exists()
    with partial.open("a") as file:
        file.write('{"row": 5, "outp')  # as a machine that goes off leaves it
    monkeypatch.setattr(module, "line_of", real)
    outcome = execute(spec, Console.silent())
    assert (outcome.result.resumed, outcome.result.rows) == (5, 9)
    found = lines_of(tmp_path / "out.jsonl")
    assert [line["row"] for line in found] == list(range(9))
    assert close([line["output"] for line in found], tfcli.pipeline(TASK, classifier)(TEXTS * 3))


def test_batches_change_no_answer(classifier) -> None:
    texts = [" ".join(TEXTS[:n]) for n in (1, 3, 2, 1, 3)]
    alone = tfcli.pipeline(TASK, classifier, top_k=None)(texts)
    assert close(tfcli.pipeline(TASK, classifier, batch_size=3, top_k=None)(texts), alone)
    stream = tfcli.pipeline(TASK, classifier, top_k=None).stream(iter(texts))
    assert next(stream) == alone[0]
    with pytest.raises(UsageError, match="give inputs"):
        tfcli.pipeline(TASK, classifier)()


def test_wrong_options_and_tasks_are_found_before_the_work(predict, rows, tmp_path) -> None:
    code, _, err = predict("--input", rows, "-o", tmp_path / "a", "--set", "options.topk=3")
    assert code == 2 and "did you mean 'top_k'" in err
    with pytest.raises(ValueError, match="no task 'translate'"):
        PredictSpec(task="translate", model="m", input="a", output="b")
    for template in ("no place", "{} {}", "{", "{label}"):
        options = {"hypothesis_template": template}
        with pytest.raises(ValueError, match="no place for a label alone"):
            PredictSpec(
                task="zero-shot-classification", model="m", input="a", output="b", options=options
            )
    for taken in ("row", "output", "error"):
        with pytest.raises(ValueError, match=f"has a '{taken}' of its own"):
            PredictSpec(task=TASK, model="m", input="a", output="b", keep=["id", taken])


def test_an_interrupted_output_is_cut_at_its_last_whole_line(tmp_path) -> None:
    path = tmp_path / "out.jsonl"
    assert resume(path) == []
    path.write_bytes(b'{"row": 0, "output": 1}\n{"row": 1, "error": "e"}\n{"row": 2, "out')
    assert resume(path) == [None, "e"]
    assert path.read_bytes().endswith(b'"e"}\n')
    path.write_bytes(b'{"row": 0, "output": 1}\n{"row": 2, "output": 1}\n')
    with pytest.raises(WorkError, match="is no output of an interrupted run"):
        resume(path)


def test_a_saved_pipeline_is_the_same_again(classifier, tmp_path) -> None:
    pipe = tfcli.pipeline(TASK, classifier, top_k=2, function_to_apply="none")
    pipe.save(tmp_path / "saved")
    again = tfcli.pipeline(model=tmp_path / "saved")
    assert again(TEXTS) == pipe(TEXTS)
    assert len(tfcli.pipeline(model=tmp_path / "saved", top_k=3)(TEXTS[0])) == 3
    with pytest.raises(UsageError, match="is not empty"):
        pipe.save(tmp_path / "saved")
    with pytest.raises(UsageError, match="no saved pipeline"):
        tfcli.pipeline(model=classifier)
    (tmp_path / "saved/pipeline.json").write_text("[]")
    with pytest.raises(WorkError, match="names no task"):
        tfcli.pipeline(model=tmp_path / "saved")


def test_each_task_has_a_model_that_is_pinned_where_transformers_has_one() -> None:
    from transformers.pipelines import SUPPORTED_TASKS

    for task, known in TASKS.items():
        theirs = SUPPORTED_TASKS.get(task, {}).get("default", {}).get("model")
        if theirs is not None and known.model is not None:  # of a family that there is
            assert known.model == "@".join(theirs), task
        assert known.model is None or len(known.model.partition("@")[2]) == 7
    spec = PredictSpec(task=TASK, input="a", output="b")
    assert spec.model == TASKS["text-classification"].model


def test_a_task_of_a_package(classifier, rows, tmp_path, monkeypatch) -> None:
    from importlib.metadata import EntryPoint

    from tfcli.predict import names

    point = EntryPoint("shout", "tests.predict.shout:Shout", names.ENTRY_POINTS)
    other = EntryPoint("wrong", "json:dumps", names.ENTRY_POINTS)
    monkeypatch.setattr(
        names, "entry_points",
        lambda group, name=None: [p for p in (point, other) if name in (None, p.name)],
    )  # fmt: skip
    spec = PredictSpec(
        task="shout", model=str(classifier), input=str(rows), output=str(tmp_path / "a.jsonl"),
        options={"mark": "?"},
    )  # fmt: skip
    execute(spec, Console.silent())
    assert lines_of(tmp_path / "a.jsonl")[0]["output"].endswith("?")
    with pytest.raises(UsageError, match=r"is no tfcli\.predict\.task\.Task"):
        tfcli.pipeline("wrong", classifier)


def test_standard_input_is_read_line_by_line(
    classifier, tmp_path, capfdbinary, monkeypatch
) -> None:
    import os
    import subprocess
    import sys

    given = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    command = [sys.executable, "-m", "tfcli.commands", "predict", "--task", TASK]
    done = subprocess.run(
        [*command, str(classifier), "--input", "-", "--output", "-"],
        input=given, capture_output=True, text=True, check=True, env=dict(os.environ),
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 3
    assert io.StringIO(done.stdout).readline().startswith('{"row": 0, "output"')
