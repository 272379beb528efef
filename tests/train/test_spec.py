"""What a train recipe may say; checked without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tfcli.errors import UsageError
from tfcli.recipe.validate import build_spec
from tfcli.train.spec import TrainSpec

LLAMA = {"model_type": "llama", "hidden_size": 32, "num_attention_heads": 2}
GOOD = {"output": "o", "config": LLAMA, "tokenizer": "t", "data": "d", "max_steps": 10}


def refused(**changes) -> str:
    values = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    with pytest.raises(UsageError) as error:
        build_spec(TrainSpec, values)
    return str(error.value)


def test_a_new_model_or_a_checkpoint_but_not_both_and_not_neither():
    assert "exactly one of model" in refused(model="m")
    assert "exactly one of model" in refused(config=None)


def test_an_unknown_config_key_is_named_with_the_nearest():
    text = refused(config={**LLAMA, "hiden_size": 64})
    assert "'hiden_size'" in text and "did you mean 'hidden_size'?" in text


def test_an_unknown_model_type_and_a_bad_value_are_named():
    assert "'lama'" in refused(config={"model_type": "lama"})
    assert "num_attention_heads" in refused(config={**LLAMA, "num_attention_heads": 3})


def test_a_new_model_needs_a_tokenizer():
    assert "needs a tokenizer" in refused(tokenizer=None)


def test_the_best_weights_need_validation():
    assert "give validation" in refused(keep="best")


def test_validation_is_given_or_held_out_but_not_both():
    assert "not both" in refused(validation="v", validation_share=0.1)
    held_out = {**GOOD, "validation_share": 0.1, "keep": "best", "validate_every": 5}
    assert build_spec(TrainSpec, held_out).validate_every == 5
    assert "validate_every has no effect with no validation" in refused(validate_every=5)


def test_steps_or_epochs_but_not_both_and_not_neither():
    assert "one of max_steps and epochs, not both" in refused(epochs=2)
    assert "give max_steps, epochs or max_minutes" in refused(max_steps=None)
    assert build_spec(TrainSpec, {**GOOD, "max_steps": None, "epochs": 0.5}).epochs == 0.5


def test_packs_are_not_grouped_by_length():
    assert "group_by_length has no effect with packing: true" in refused(
        rows={"packing": True, "group_by_length": True}
    )


def test_a_warm_up_longer_than_the_run_is_refused():
    assert "schedule.warmup_steps (11) is more than max_steps (10)" in refused(
        schedule={"warmup_steps": 11}
    )


def test_a_pretrained_model_gets_a_low_rate_and_a_warm_up_and_a_new_one_neither():
    def resolved(**changes) -> tuple[float, int]:
        spec = TrainSpec.model_validate({**GOOD, **changes})
        return spec.peak_rate, spec.warmup_steps

    start = {"config": None, "model": "m"}
    assert resolved() == (1e-3, 0)
    assert resolved(**start) == (5e-5, 1)
    assert resolved(**start, max_steps=250) == (5e-5, 25)
    assert resolved(**start, max_steps=9000) == (5e-5, 100)
    said = {"optimizer": {"lr": 1e-5}, "schedule": {"warmup_steps": 0}}
    assert resolved(**start, **said) == (1e-5, 0)


def test_a_misspelt_key_of_a_section_is_named_with_the_nearest():
    assert "weight_decay" in refused(optimizer={"weigth_decay": 0.1})


def test_checking_a_recipe_imports_no_torch():
    code = (
        "import sys\n"
        "from tfcli.train.spec import TrainSpec\n"
        f"TrainSpec.model_validate({GOOD!r})\n"
        "print([m for m in ('torch', 'numpy', 'accelerate', 'tokenizers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_keys_without_an_effect_are_refused():
    held = {"validation": "v"}
    seq2seq = {"objective": "seq2seq", **held}
    assert "no effect with no metrics" in refused(**seq2seq, generation={"max_examples": 3})
    assert "generation has no effect with metrics: []" in refused(
        **seq2seq, metrics=[], generation={"max_examples": 3}
    )
    assert "keep_checkpoints has no effect" in refused(checkpoint_every=0, keep_checkpoints=3)
    assert "weight has no effect on a source alone" in refused(
        data=None, mixture={"a": {"path": "d", "weight": 2}}
    )
    assert "split has no effect where every source" in refused(
        data=None, split="test", mixture={"a": {"path": "d", "split": "train"}}
    )
    assert "project has no effect on tensorboard and csv: wandb and trackio" in refused(
        tracking={"trackers": ["tensorboard", "csv"], "project": "mine"}
    )
    assert "run has no effect on csv" in refused(tracking={"trackers": "csv", "run": "mine"})
    assert "neftune_alpha has no effect with objective: image-classification" in refused(
        objective="image-classification", tokenizer=None, neftune_alpha=5
    )
    assert "mean_length has no effect with span_weight: 0" in refused(
        objective="glm", blanks={"span_weight": 0, "mean_length": 2}
    )
    assert "share has no effect where neither" in refused(
        objective="glm", blanks={"span_weight": 0, "sentence_weight": 0, "share": 0.2}
    )
