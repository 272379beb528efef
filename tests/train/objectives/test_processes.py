"""Two processes learn what one learns, also where a second model is compared with."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.train.objectives import test_preference, test_sequence_classification
from tests.train.objectives.support import LLAMA
from tests.train.test_ranks import in_processes
from tfcli.recipe.job import Job
from tfcli.train.run import run

CHILD = """
import json, pathlib, sys
from tfcli.recipe.job import Job
from tfcli.train.run import run
from tfcli.train.spec import TrainSpec

run(TrainSpec.model_validate(json.loads(sys.argv[1])), Job(folder=pathlib.Path(sys.argv[2])))
"""


@pytest.mark.parametrize("objective", ["sequence-classification", "dpo"])
def test_two_processes_give_what_one_gives_with_twice_the_batch(
    spec_of, texts, tmp_path, objective
):
    rows = {
        "sequence-classification": test_sequence_classification.rows("single", 13),
        "dpo": test_preference.rows(13),
    }[objective]
    common = {
        "config": LLAMA,
        "tokenizer": str(texts / "tokenizer"),
        "max_steps": 4,
        "sequence_length": 64,
    }
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    spec = spec_of(objective, rows, batch_size=2, strategy="ddp", **common)
    in_processes(2, tmp_path, CHILD, json.dumps(spec.model_dump(mode="json")), str(two))
    run(spec_of(objective, rows, batch_size=4, **common), Job(folder=one))
    expected = load_file(one / "model.safetensors")
    for name, tensor in load_file(two / "model.safetensors").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-4)
