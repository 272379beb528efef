"""From block to block a method sees what the model's own forward pass shows, or it is refused."""

from __future__ import annotations

import pytest
import torch

from tests.models.tiny import TEXT, tiny_model
from tests.quantize.watching import Watching, linears_of, walk
from tfcli.checkpoints.folder import save_model
from tfcli.errors import ModelError, UsageError
from tfcli.models.registry import FAMILIES
from tfcli.quantize.calibrate import require_chain
from tfcli.quantize.run import run
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.job import Job

IDS = torch.randint(4, 61, (2, 17), generator=torch.Generator().manual_seed(0))
# A walk exists, but blocks are shared by layers, or a convolution stands between two.
NO_CHAIN = {"albert", "deberta-v2"}
NO_WALK = {"longformer", "funnel"}  # and encoder-decoders


def seen_in_one_pass(model, names):
    """What linears first get when the whole model runs. (DeBERTa's read a table with some.)"""
    seen = {}
    for name in names:

        def keep(_, args, name=name):  # what a hook returns would replace the input
            seen.setdefault(name, args[0].clone())

        model.get_submodule(name).register_forward_pre_hook(keep)
    with torch.no_grad():
        model(input_ids=IDS)
    return seen


def chained(model_type):
    try:
        return tiny_model(model_type).calibration.chained
    except ModelError:  # no walk
        return False


@pytest.mark.parametrize("model_type", [name for name in TEXT if chained(name)])
def test_block_by_block_a_method_sees_what_the_whole_model_does(model_type):
    assert_same(model_type)


def assert_same(model_type, **changes):
    model = tiny_model(model_type, **changes)
    expected = seen_in_one_pass(model, linears_of(model))
    model, method = tiny_model(model_type, **changes), Watching()
    done = [name for names in walk(model, [IDS], method) for name in names]
    assert sorted(done) == sorted(linears_of(model))
    assert method.all_seen.keys() == expected.keys()
    for name, inputs in expected.items():
        torch.testing.assert_close(method.all_seen[name], inputs, msg=name)


def test_the_families_without_a_chain_are_known():
    unchained = {name for name in TEXT if not chained(name)}
    two_stacks = {name for name in unchained if FAMILIES[name].kind == "encoder-decoder"}
    assert unchained - two_stacks == NO_CHAIN | NO_WALK


@pytest.mark.parametrize("model_type", sorted(NO_CHAIN))
def test_gptq_is_refused_before_anything_is_read_and_rounding_is_not(tmp_path, model_type):
    model = tiny_model(model_type, intermediate_size=64)
    save_model(model, tmp_path / "model")  # no tokenizer: it would be missed later
    (tmp_path / "out").mkdir()
    given = {"model": str(tmp_path / "model"), "output": str(tmp_path / "out"), "group_size": 32}
    with pytest.raises(UsageError, match=f"{model_type} .* block by block") as error:
        run(QuantizeSpec(method="gptq", **given), Job(folder=tmp_path / "out"))
    assert "rtn" in error.value.fix
    result = run(QuantizeSpec(method="rtn", **given), Job(folder=tmp_path / "out"))
    assert result.quantized == len(linears_of(model))


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [("albert", {"num_hidden_groups": 2}), ("deberta-v2", {"conv_kernel_size": 0})],
)
def test_a_config_decides_whether_there_is_a_chain(model_type, changes):
    with pytest.raises(UsageError):
        require_chain(tiny_model(model_type))
    require_chain(tiny_model(model_type, **changes))
    assert_same(model_type, **changes)
