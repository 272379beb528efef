"""A method sees of every linear what the model's own forward pass gives it."""

from __future__ import annotations

import pytest
import torch

from tests.models.tiny import TEXT, tiny_model
from tests.quantize.watching import Watching, walk
from tfcli.errors import ModelError
from tfcli.models.walks import linears_of
from tfcli.quantize import runs
from tfcli.quantize.text import inputs_of

IDS = torch.randint(4, 61, (2, 17), generator=torch.Generator().manual_seed(0))
# Their attention has linears that only texts with tokens that see all others run; pooled queries.
NO_WALK = {"longformer", "led", "funnel"}


def seen_in_one_pass(model, names):
    """What linears get when the whole model runs: all that comes, one below the other."""
    seen = {}
    for name in names:

        def keep(_, args, name=name):  # what a hook returns would replace the input
            seen.setdefault(name, []).append(args[0].clone())

        model.get_submodule(name).register_forward_pre_hook(keep)
    with torch.no_grad():
        model(**inputs_of(model, IDS))
    return seen


def walks(model_type):
    try:
        return bool(linears_of(tiny_model(model_type)))
    except ModelError:
        return False


@pytest.mark.parametrize("model_type", [name for name in TEXT if name not in NO_WALK])
def test_a_method_sees_what_the_whole_model_does(model_type):
    assert_same(model_type)


def assert_same(model_type, **changes):
    model = tiny_model(model_type, **changes)
    expected = seen_in_one_pass(model, linears_of(model))
    model, method = tiny_model(model_type, **changes), Watching()
    done = [name for names in walk(model, [IDS], method) for name in names]
    assert sorted(done) == sorted(linears_of(model))
    assert method.all_seen.keys() == expected.keys()
    for name, inputs in expected.items():
        found = method.all_seen[name]
        # Where layers share a block, its linears are seen with the inputs of all; what some of
        # DeBERTa's read besides, a table, is not looked at.
        shown = [part for part in inputs if part.shape == inputs[0].shape]
        together = torch.cat([part.reshape(-1, part.shape[-1]) for part in shown])
        torch.testing.assert_close(found.reshape(-1, found.shape[-1]), together, msg=name)


def test_products_in_bfloat16_show_nearly_the_same(monkeypatch):
    """What a processor with such instructions does; others can do it too, slowly."""
    monkeypatch.setattr(runs, "has_products", lambda dtype: True)
    far = {}
    for model_type in (name for name in TEXT if name not in NO_WALK):
        model = tiny_model(model_type)
        expected = seen_in_one_pass(model, linears_of(model))
        method = Watching()
        for _ in walk(tiny_model(model_type), [IDS], method, exact=False):
            pass
        for name, inputs in expected.items():
            found = method.all_seen[name]
            assert found.dtype in (torch.float32, torch.bfloat16)
            shown = [part for part in inputs if part.shape == inputs[0].shape]  # see `assert_same`
            together = torch.cat([part.reshape(-1, part.shape[-1]) for part in shown])
            if ".experts." not in name:  # which tokens go there may differ
                change = found.reshape(together.shape).float() - together
                error = (change.norm() / together.norm()).item()
                far[model_type] = max(far.get(model_type, 0.0), error)
    assert len(far) > 50
    assert max(far.values()) < 0.1, max(far.items(), key=lambda each: each[1])
    assert max(far.values()) > 1e-4, "it is not what fp32 gives"


def test_the_families_without_a_walk_are_known():
    assert {name for name in TEXT if not walks(name)} == NO_WALK


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [("albert", {"num_hidden_groups": 2}), ("deberta-v2", {"conv_kernel_size": 0})],
)
def test_a_config_decides_whether_blocks_are_a_chain(model_type, changes):
    assert not tiny_model(model_type).calibration.chained
    assert tiny_model(model_type, **changes).calibration.chained
    assert_same(model_type, **changes)
