"""Which eval belongs to which model."""

import shutil

import pytest

from tests.report import steps as make
from tfcli.checkpoints.strict_json import read_json
from tfcli.errors import UsageError, WorkError
from tfcli.files import write_json
from tfcli.report.models import Models
from tfcli.report.quality import measures_of
from tfcli.report.steps import load_steps


def load(*folders):
    return load_steps([str(folder) for folder in folders])


def test_quantized_models_are_named_by_method_and_bits(tmp_path):
    dense = make.train(tmp_path)
    made = [make.quantize(tmp_path, dense, "rtn", 4), make.quantize(tmp_path, dense, "gptq", 3)]
    models = Models(load(dense, *made)).all
    assert [model.label for model in models] == ["dense", "RTN 4-bit", "GPTQ 3-bit"]
    assert [model.bytes for model in models] == [1_600_000, 400_000, 300_000]
    assert len({model.color for model in models}) == 3


def test_labels_that_would_be_the_same_get_what_tells_them_apart(tmp_path):
    dense, other = make.train(tmp_path), make.train(tmp_path, "longer")
    made = [make.quantize(tmp_path, dense, "rtn", 4, group=group) for group in (64, 128)]
    labels = [model.label for model in Models(load(dense, other, *made)).all]
    assert labels == ["dense (train)", "dense (longer)", "RTN 4-bit g64", "RTN 4-bit g128"]


def test_an_eval_finds_its_model_after_both_were_moved(tmp_path):
    dense = make.train(tmp_path)
    quantized = make.quantize(tmp_path, dense, "rtn", 4)
    evals = [make.evaluate(tmp_path, dense, 1.6), make.evaluate(tmp_path, quantized, 1.7)]
    (tmp_path / "elsewhere").mkdir()
    made = (dense, quantized, *evals)
    steps = load(*[shutil.move(one, tmp_path / "elsewhere" / one.name) for one in made])
    models = Models(steps)
    measures = measures_of(steps, models)
    assert [m.model.label for m in measures] == ["dense", "RTN 4-bit"]
    assert len(models.all) == 2 and not models.warnings


def test_an_eval_of_an_earlier_version_of_a_model_is_told(tmp_path):
    dense = make.train(tmp_path)
    eval_ = make.evaluate(tmp_path, dense, 1.6)
    shutil.rmtree(dense)
    make.train(tmp_path, size=1_700_000)
    steps = load(dense, eval_)
    models = Models(steps)
    assert measures_of(steps, models)[0].model.label == "dense"
    assert "eval-train used another version of train" in models.warnings[0]


def test_a_model_made_elsewhere_is_listed_without_a_size(tmp_path):
    dense = make.train(tmp_path)
    steps = load(make.evaluate(tmp_path, dense, 1.6))
    models = Models(steps)
    measures_of(steps, models)
    assert [(model.label, model.bytes) for model in models.all] == [("train", None)]


def test_a_model_made_elsewhere_is_one_model_as_long_as_it_stays_as_it_is(tmp_path):
    dense = make.train(tmp_path)
    first = make.evaluate(tmp_path, dense, 1.6).rename(tmp_path / "first")
    again = make.evaluate(tmp_path, dense, 1.6, divergence=0.0).rename(tmp_path / "again")
    shutil.rmtree(dense)
    make.train(tmp_path, size=1_700_000)
    later = make.evaluate(tmp_path, dense, 1.6)
    for folders, told in (((first, again), 0), ((first, again, later), 1)):
        steps = load(*folders)
        models = Models(steps)
        measures_of(steps, models)
        assert (len(models.all), len(models.warnings)) == (1, told)


def test_a_folder_without_a_record_is_named(tmp_path):
    (tmp_path / "not-a-step").mkdir()
    with pytest.raises(UsageError, match="not-a-step is not the folder of a finished step"):
        load(tmp_path / "not-a-step")


def test_a_record_of_another_version_names_the_key_that_does_not_fit(tmp_path):
    folder = make.train(tmp_path)
    record = read_json(folder / "run.json")
    del record["result"]["train_loss"]
    write_json(folder / "run.json", record)
    with pytest.raises(WorkError, match=r"result\.train_loss") as caught:
        load(folder)
    assert caught.value.where == str(folder / "run.json")


def test_a_broken_record_is_an_error_with_its_place(tmp_path):
    folder = make.train(tmp_path)
    (folder / "run.json").write_text("{")
    with pytest.raises(WorkError, match="not valid JSON"):
        load(folder)


def test_steps_of_the_same_name_keep_as_much_of_their_path_as_it_takes(tmp_path):
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
    folders = [make.train(tmp_path / part) for part in ("a", "b")]
    assert [step.name for step in load(*folders, folders[0])] == ["a/train", "b/train"]
