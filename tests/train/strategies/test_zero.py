"""What DeepSpeed's engine is told; what it does is in test_ranks.py."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from tfcli.errors import UsageError
from tfcli.process_group import ALONE
from tfcli.train.strategies.spec import DeepSpeedSection
from tfcli.train.strategies.zero import Zero, read_config


def config(stage=2, precision="float32", clip_norm=1.0, **options):
    return Zero(ALONE, stage, DeepSpeedSection(**options), precision).config(clip_norm)


def test_the_recipe_reaches_the_engine():
    found = config(3, "bfloat16", 0.5, offload_optimizer="cpu", offload_weights="nvme",
                   nvme_path="/fast")  # fmt: skip
    assert found["zero_optimization"] == {
        "stage": 3,
        "offload_optimizer": {"device": "cpu"},
        "offload_param": {"device": "nvme", "nvme_path": "/fast"},
    }
    assert found["gradient_clipping"] == 0.5
    assert found["torch_autocast"]["enabled"], "else the engine would compute in float32"
    assert not config()["torch_autocast"]["enabled"]


def test_a_config_of_its_own_goes_beside_the_recipe(tmp_path):
    path = tmp_path / "ds.json"
    values = {
        "train_batch_size": "auto",
        "zero_optimization": {"stage": 1, "reduce_bucket_size": 1000},
        "wall_clock_breakdown": True,
    }
    path.write_text(json.dumps(values))
    found = config(config=str(path))
    assert found["zero_optimization"] == {"stage": 2, "reduce_bucket_size": 1000}
    assert found["wall_clock_breakdown"] and "train_batch_size" not in found


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"fp16": {"enabled": true}}', "fp16 is the recipe's"), ("[1]", "no JSON object"), ("{", "")],
)
def test_what_the_recipe_says_a_config_may_not(tmp_path, text, said):
    path = tmp_path / "ds.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_config(path)


def test_places_that_are_missing_or_hold_nothing_are_refused(make_spec):
    with pytest.raises(ValidationError, match="nvme_path"):
        make_spec(strategy="zero2", deepspeed={"offload_optimizer": "nvme"})
    with pytest.raises(ValidationError, match="zero3 alone"):
        make_spec(strategy="zero2", deepspeed={"offload_weights": "cpu"})
    with pytest.raises(ValidationError, match="strategy"):
        make_spec(deepspeed={"offload_optimizer": "cpu"})
