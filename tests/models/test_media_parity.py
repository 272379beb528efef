"""Every family that takes media against transformers, on every config under media_cases/."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn
from transformers.core_model_loading import revert_weight_conversion

from tests.models.media_case import MediaCase
from tests.models.media_cases import CASES
from tests.models.parity import assert_close, our_gradients, pair_id
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.models.loading import build, load_weights
from tfcli.models.model import Model
from tfcli.models.registry import read_config

pytestmark = pytest.mark.families

every_case = pytest.mark.parametrize("case", CASES, ids=pair_id)


def reference(case: MediaCase) -> nn.Module:
    """The transformers model, in eval mode; biases and norms are moved off 0 and 1."""
    torch.manual_seed(0)
    config = getattr(transformers, case.config)(**case.settings)
    model = getattr(transformers, case.model)._from_config(config, attn_implementation="sdpa")
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim == 1 or bool((value == value.flatten()[0]).all()):
                value.add_(torch.randn_like(value) * 0.1)
    return model.eval()


def checkpoint_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return revert_weight_conversion(model, {k: v.clone() for k, v in model.state_dict().items()})


def twin(case: MediaCase, theirs: nn.Module, **options: Any) -> Model:
    """Our model with the same weights, in eval mode."""
    ours = build(read_config(theirs.config.to_dict()), case.task, **options)
    load_weights(ours, checkpoint_of(theirs))
    return ours.eval()


def batch(case: MediaCase, rows: int = 2) -> dict[str, Any]:
    return case.inputs(torch.Generator().manual_seed(1), rows)


@every_case
def test_outputs(case):
    theirs = reference(case)
    ours, inputs = twin(case, theirs), batch(case)
    more = {"output_hidden_states": True} if case.hidden_states else {}
    with torch.no_grad():
        expected, actual = theirs(**inputs, **more), ours(**inputs, **more)
    for name in case.outputs:
        found, wanted = actual[name], expected[name]
        if isinstance(found, torch.Tensor):
            found, wanted = [found], [wanted]
        for one, other in zip(found, wanted, strict=True):
            assert_close(one, other, case.tolerance)
    if case.hidden_states:
        theirs_of = expected.get("decoder_hidden_states") or expected.hidden_states
        assert len(actual.hidden_states) == len(theirs_of)
        for one, other in zip(actual.hidden_states, theirs_of, strict=True):
            assert_close(one, other, case.tolerance)


@pytest.mark.parametrize("case", [c for c in CASES if c.labels is not None], ids=pair_id)
def test_loss_and_gradients(case):
    theirs = reference(case)
    ours, inputs = twin(case, theirs), batch(case)
    assert case.labels is not None
    labels = case.labels(torch.Generator().manual_seed(2), inputs)
    theirs.config.use_cache = False
    expected, actual = theirs(**inputs, labels=labels).loss, ours(**inputs, labels=labels).loss
    assert abs(actual - expected) <= 1e-5 * max(abs(expected), 1)
    expected.backward()
    actual.backward()
    named = theirs.named_parameters(remove_duplicate=False)
    trained = {name: p for name, p in named if p.requires_grad}
    grads = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in trained.items()}
    wanted, found = revert_weight_conversion(theirs, grads), our_gradients(ours)
    largest = max(float(grad.abs().max()) for grad in wanted.values())
    for name, grad in wanted.items():
        assert (found[name] - grad).abs().max() <= 2e-5 * largest, name


@pytest.mark.parametrize("case", [c for c in CASES if c.cached], ids=pair_id)
def test_a_cache_gives_what_one_pass_gives(case):
    ours, inputs = twin(case, reference(case)), batch(case)
    name = "decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"
    ids, cache = inputs[name], ours.make_cache()
    with torch.no_grad():
        whole = ours(**inputs).logits
        prompt = {**inputs, name: ids[:, :-3]}
        steps = [ours(**prompt, cache=cache).logits]
        for at in range(ids.shape[1] - 3, ids.shape[1]):
            steps.append(ours(**{name: ids[:, at : at + 1]}, cache=cache).logits)
    assert_close(torch.cat(steps, 1), whole)


@every_case
def test_what_transformers_saves_loads_here_and_the_reverse(case, tmp_path):
    theirs = reference(case)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs", task=case.task).eval()
    save_model(ours, tmp_path / "ours")
    again = getattr(transformers, case.model).from_pretrained(tmp_path / "ours").eval()
    inputs = batch(case)
    with torch.no_grad():
        expected, actual, returned = theirs(**inputs), ours(**inputs), again(**inputs)
    for name in case.outputs:
        if isinstance(expected.get(name), torch.Tensor):
            assert_close(actual[name], expected[name], case.tolerance)
            assert_close(returned[name], expected[name], case.tolerance)


@every_case
def test_files_have_the_names_that_transformers_gives_them(case, tmp_path):
    theirs = reference(case)
    theirs.save_pretrained(tmp_path / "theirs")
    save_model(twin(case, theirs), tmp_path / "ours")
    names = [set(load_file(tmp_path / side / "model.safetensors")) for side in ("theirs", "ours")]
    assert names[1] == names[0]
    kept = json.loads((tmp_path / "ours/config.json").read_text())
    for key, value in json.loads((tmp_path / "theirs/config.json").read_text()).items():
        if isinstance(value, dict) and "model_type" in value:
            there = {name: kept[key].get(name) for name in value}
            assert there | {"dtype": None} == value | {"dtype": None}, key
