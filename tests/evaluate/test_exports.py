"""Results in others' forms."""

import json

import pytest

from tests.evaluate.tasks.files import CHOICE, write_task
from tfcli.commands.app import run


@pytest.fixture(scope="module")
def folder(tiny_llama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    path = write_task(folder, CHOICE)
    out = folder / "out"
    command = ["eval", str(tiny_llama), "--task", str(path), "--limit", "4", "--output", str(out)]
    assert run([*command, "-q", "--export", "lm-eval", "--export", "every-eval-ever"]) == 0
    return out


def test_the_harness_has_each_figure_with_its_error(folder):
    found = json.loads((folder / "lm-eval.json").read_text())
    measures = json.loads((folder / "run.json").read_text())["result"]["measures"]
    rows = found["results"]["choose"]
    for measure in measures:
        assert rows[f"{measure['name']},none"] == measure["value"]
        assert rows[f"{measure['name']}_stderr,none"] == measure["standard_error"]
    assert found["n-samples"] == {"choose": {"original": 16, "effective": 4}}
    assert (found["versions"], found["n-shot"]) == ({"choose": "1.0"}, {"choose": 0})
    assert found["configs"]["choose"]["doc_to_choice"] == "choices"
    assert found["higher_is_better"]["choose"]["acc"] is True


def test_every_eval_ever_has_scores_with_what_they_depend_on(folder):
    found = json.loads((folder / "every-eval-ever.json").read_text())
    required = {"schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata"}
    assert required | {"model_info", "eval_library", "evaluation_results"} == found.keys()
    details = found["model_info"]["additional_details"]
    assert {"deployment_type", "model_availability"} <= details.keys()
    first = found["evaluation_results"][0]
    assert first["metric_config"] == {
        "metric_id": "acc",
        "metric_name": "acc",
        "metric_unit": "proportion",
        "lower_is_better": False,
        "score_type": "continuous",
        "min_score": 0.0,
        "max_score": 1.0,
    }
    assert first["score_details"]["uncertainty"]["num_samples"] == 4
    assert all(isinstance(value, str) for value in first["score_details"]["details"].values())
