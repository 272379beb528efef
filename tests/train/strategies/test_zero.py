"""What DeepSpeed's engine is told; what it does is in test_ranks.py."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from tfcli.errors import UsageError
from tfcli.process_group import ALONE
from tfcli.train.strategies.engine_config import Said, engine_config, read_config
from tfcli.train.strategies.registry import pick_strategy
from tfcli.train.strategies.spec import DeepSpeedSection
from tfcli.train.strategies.zero import Zero


def said(stage=2, precision="float32", clip_norm=1.0, **options) -> Said:
    return Said(
        stage=stage,
        options=DeepSpeedSection(**options),
        precision=precision,
        optimizer="adamw",
        clip_norm=clip_norm,
        batch_size=4,
        accumulation=2,
        processes=2,
    )


@pytest.fixture
def config(tmp_path):
    """A function that gives what the engine is told beside a config of DeepSpeed's."""

    def make(given: object, **changes):
        path = tmp_path / "ds.json"
        path.write_text(given if isinstance(given, str) else json.dumps(given))
        recipe = said(**changes, config=str(path))
        return engine_config(read_config(str(path), recipe), recipe, hidden_size=64)

    return make


def test_the_recipe_reaches_the_engine():
    recipe = said(3, "bfloat16", 0.5, offload_optimizer="cpu", offload_weights="nvme",
                  nvme_path="/fast")  # fmt: skip
    found = engine_config({}, recipe, 64)
    assert found["zero_optimization"] == {
        "stage": 3,
        "offload_optimizer": {"device": "cpu"},
        "offload_param": {"device": "nvme", "nvme_path": "/fast"},
    }
    assert found["gradient_clipping"] == 0.5
    assert found["torch_autocast"]["enabled"], "else the engine would compute in float32"
    assert not engine_config({}, said(), 64)["torch_autocast"]["enabled"]


def test_a_config_of_its_own_goes_beside_the_recipe(config):
    """As one finds them: written for transformers' Trainer, with "auto" everywhere."""
    found = config(
        {
            "bf16": {"enabled": "auto"},
            "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto"}},
            "scheduler": "auto",
            "zero_optimization": {
                "stage": 3,
                "offload_optimizer": {"device": "cpu", "pin_memory": True},
                "reduce_bucket_size": "auto",
                "stage3_prefetch_bucket_size": "auto",
                "stage3_param_persistence_threshold": "auto",
                "sub_group_size": 1000,
                "overlap_comm": "auto",
            },
            "gradient_clipping": "auto",
            "train_batch_size": 16,
            "train_micro_batch_size_per_gpu": "auto",
            "gradient_accumulation_steps": 2,
            "wall_clock_breakdown": True,
        },
        stage=3,
        offload_optimizer="cpu",
    )
    assert found["zero_optimization"] == {
        "stage": 3,
        "offload_optimizer": {"device": "cpu", "pin_memory": True},
        "reduce_bucket_size": 64 * 64,
        "stage3_prefetch_bucket_size": int(0.9 * 64 * 64),
        "stage3_param_persistence_threshold": 640,
        "sub_group_size": 1000,
    }
    assert found["wall_clock_breakdown"]
    assert not found.keys() & {"train_batch_size", "optimizer", "scheduler", "bf16"}
    assert found["train_micro_batch_size_per_gpu"] == found["gradient_accumulation_steps"] == 1


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"fp16": {"enabled": True}}, "precision"),
        ({"bf16": {"enabled": True}}, "precision"),
        ({"zero_optimization": {"stage": 1}}, "strategy"),
        ({"zero_optimization": {"offload_optimizer": {"device": "nvme"}}}, "offload_optimizer"),
        ({"gradient_clipping": 0.5}, "clip_norm"),
        ({"train_batch_size": 8}, "batch_size, gradient_accumulation"),
        ({"train_micro_batch_size_per_gpu": 1}, "batch_size"),
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation"),
        ({"optimizer": {"type": "AdamW", "params": {"lr": 1e-3}}}, "optimizer"),
        ({"optimizer": {"type": "Lamb", "params": {"lr": "auto"}}}, "optimizer"),
        ({"scheduler": {"type": "WarmupLR"}}, "schedule"),
        ({"steps_per_print": 10}, "metrics.jsonl"),
    ],
)
def test_a_config_that_says_something_else_than_the_recipe_is_refused(config, given, key):
    with pytest.raises(UsageError) as error:
        config(given, offload_optimizer="cpu")
    assert key in error.value.what
    assert error.value.where.endswith(f": {next(iter(given))}") or "." in error.value.where


@pytest.mark.parametrize(("text", "said"), [("[1]", "no JSON object"), ("{", "is no config")])
def test_a_file_that_is_no_config_is_refused(config, text, said):
    with pytest.raises(UsageError, match=said):
        config(text)


def test_a_config_is_read_before_any_work(make_spec, tmp_path):
    (tmp_path / "ds.json").write_text('{"zero_optimization": {"stage": 3}}')
    given = {"deepspeed": {"config": str(tmp_path / "ds.json")}}
    with pytest.raises(UsageError, match="strategy"):
        pick_strategy(make_spec(strategy="zero2", **given), ALONE)
    assert isinstance(pick_strategy(make_spec(strategy="zero3", **given), ALONE), Zero)


def test_places_that_are_missing_or_hold_nothing_are_refused(make_spec):
    with pytest.raises(ValidationError, match="nvme_path"):
        make_spec(strategy="zero2", deepspeed={"offload_optimizer": "nvme"})
    with pytest.raises(ValidationError, match="nvme_path has no effect"):
        make_spec(strategy="zero2", deepspeed={"offload_optimizer": "cpu", "nvme_path": "/fast"})
    with pytest.raises(ValidationError, match="zero3 alone"):
        make_spec(strategy="zero2", deepspeed={"offload_weights": "cpu"})
    with pytest.raises(ValidationError, match="strategy"):
        make_spec(deepspeed={"offload_optimizer": "cpu"})
