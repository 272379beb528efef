"""Learning from a teacher: the loss on transformers' models, and which teachers are refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from tests.train.objectives.conftest import refused
from tests.train.objectives.support import LLAMA, fed, made, parts, require_same, theirs
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build, initialize
from tfcli.train.log import read_metrics

TEACHER = {**LLAMA, "hidden_size": 24, "num_attention_heads": 3, "vocab_size": 320}


@pytest.fixture(scope="session")
def teacher(tmp_path_factory, texts) -> str:
    """A folder with a wider model than the student, with more rows than there are tokens."""
    folder = tmp_path_factory.mktemp("teacher")
    model = initialize(build(config_from_recipe(TEACHER), "causal-lm"), seed=7)
    save_model(model, folder, tokenizer_from=texts / "tokenizer")
    return str(folder)


@pytest.fixture
def spec_of(make_spec, teacher):
    """A function that gives a spec with that teacher."""

    def make(temperature=2.0, share=0.5, **changes):
        section = {"teacher": teacher, "temperature": temperature, "share": share}
        values = {"config": LLAMA, "objective": "distillation", "distillation": section}
        return make_spec(**{**values, **changes})

    return make


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 1.0), (3.0, 0.4)])
def test_loss_and_gradients_are_those_of_the_formula(
    spec_of, tmp_path, teacher, temperature, share
):
    objective, examples, config = fed(spec_of(temperature, share))
    batch = objective.collate([*examples.train.part(0)[:3], examples.train.part(0)[-1]])
    model = made(objective, config)
    objective.begin(load_model)
    reference = theirs(model, tmp_path / "saved", AutoModelForCausalLM)
    wiser = AutoModelForCausalLM.from_pretrained(teacher).eval()
    counted = batch["targets"] != -100
    logits = reference(batch["input_ids"]).logits[counted]
    with torch.no_grad():
        wise = wiser(batch["input_ids"]).logits[counted][:, : logits.shape[-1]]
    p, q = (each.div(temperature).softmax(-1) for each in (wise, logits))
    apart = (p * (p.log() - q.log())).sum(-1).mean() * temperature**2
    text = F.cross_entropy(logits, batch["targets"][counted])
    loss = objective.loss(model, batch) / objective.count(batch)
    require_same(loss, model, share * apart + (1 - share) * text, reference)


def test_any_split_of_a_step_gives_the_same_gradients(spec_of, tmp_path):
    objective, examples, config = fed(spec_of())
    parts(objective, config, examples.train.part(0)[:8], tmp_path)


def test_a_teacher_is_learned_and_transformers_loads_what_is_written(spec_of, train):
    spec = spec_of(share=1.0, max_steps=60, optimizer={"lr": 1e-2})
    result, folder = train(spec)
    assert result.train_loss < read_metrics(folder / "metrics.jsonl")[0]["loss"] / 2
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.tensor([[7, 9, 11]])
    with torch.no_grad():
        ours = load_model(folder)(ids).logits
        torch.testing.assert_close(ours, model(ids).logits, rtol=1e-5, atol=1e-5)
    assert "distillation" in (folder / "README.md").read_text()


def test_other_tokenizers_and_shorter_teachers_are_refused(spec_of, words, tmp_path):
    problem = refused(lambda: fed(spec_of(tokenizer=words)))
    assert problem.where == "distillation.teacher" and "another tokenizer" in problem.what
    wider = {**LLAMA, "max_position_embeddings": 128}
    problem = refused(lambda: fed(spec_of(config=wider, sequence_length=65)))
    assert problem.where == "sequence_length" and problem.fix == "at most 64"


def test_a_teacher_is_needed_and_has_no_effect_elsewhere(make_spec, teacher):
    with pytest.raises(ValueError, match=r"give distillation\.teacher"):
        make_spec(objective="distillation")
    with pytest.raises(ValueError, match="distillation has no effect"):
        make_spec(distillation={"teacher": teacher})
    spec = make_spec(objective="distillation", distillation=teacher)
    assert spec.distillation.teacher == teacher, "a name alone is the teacher's"
