"""SmoothQuant from a checkpoint to a folder whose inputs are rounded when it runs."""

from __future__ import annotations

import json

import pytest
import torch
from pydantic import ValidationError

from tests.models.tiny import tiny_model
from tests.quantize.methods.test_awq import change, quantize, tensors
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.errors import UsageError
from tfcli.models.folding import apply_fold, folds_of
from tfcli.models.layers.norms import RMSNorm
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.layouts.compressed_tensors_int import IntQuantized
from tfcli.models.layouts.inputs import Inputs
from tfcli.quantize.methods.smooth import SmoothQuant
from tfcli.quantize.run import run
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.job import Job

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}


def smoothquant(model, out, **given):
    return quantize(model, out, **{"method": "smoothquant", "group_size": None, **given})


def rtn(model, out, **given):
    """Rounding to nearest into the same format."""
    options = {"bits": 8, "group_size": -1, "round_inputs": True, "layout": "compressed-tensors"}
    return quantize(model, out, method="rtn", **options, **given)


def save(folder, tokenizer, outliers, family="llama", **changes):
    """A model in whose blocks some inputs are so many times as large, their weights as small."""
    model = tiny_model(family, vocab_size=320, **(SIZES | changes))
    for block in model.blocks:
        for fold in folds_of(block):
            if isinstance(block.get_submodule(fold.source), RMSNorm):
                factors = torch.ones(SIZES["hidden_size"])
                factors[::16] = 1 / outliers
                apply_fold(block, fold, factors)
    save_model(model, folder, tokenizer_from=tokenizer)
    return folder


@pytest.fixture(scope="module")
def dense(tmp_path_factory, tiny_tokenizer):
    folder = tmp_path_factory.mktemp("dense") / "model"
    return save(folder, tiny_tokenizer, outliers=60.0, num_key_value_heads=2)


@pytest.fixture(scope="module")
def smooth(dense, tmp_path_factory):
    out = tmp_path_factory.mktemp("smooth") / "q"
    return out, smoothquant(dense, out)


def test_weights_and_inputs_are_bytes_and_norms_changed(dense, smooth):
    out, result = smooth
    before, after = tensors(dense), tensors(out)
    assert (result.layout, result.bits, result.group_size) == ("compressed-tensors", 8, -1)
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    assert config["format"] == "int-quantized"
    group = config["config_groups"]["group_0"]
    assert (group["weights"]["strategy"], group["weights"]["num_bits"]) == ("channel", 8)
    inputs = group["input_activations"]
    assert (inputs["strategy"], inputs["dynamic"], inputs["num_bits"]) == ("token", True, 8)
    packed = [m for m in load_model(out).modules() if isinstance(m, QuantizedLinear)]
    assert len(packed) == result.quantized
    assert all(m.packing == IntQuantized(Inputs("int8")) for m in packed)
    norms = [name for name in before if "layernorm" in name]
    assert all(not torch.equal(before[name], after[name]) for name in norms)
    told = {t.name for t in result.tensors if t.reason == "not a linear, with factors"}
    assert told == set(norms)


def test_inputs_with_outliers_lose_far_less_than_by_rounding(dense, smooth, tmp_path):
    """Which also says that factors arrived in the weights as they left the norms."""
    rtn(dense, tmp_path / "rtn")
    assert change(dense, smooth[0]) < 0.1 * change(dense, tmp_path / "rtn")


def test_even_inputs_lose_no_more_than_by_rounding(tmp_path, tiny_tokenizer):
    even = save(tmp_path / "even", tiny_tokenizer, outliers=1.0)
    smoothquant(even, tmp_path / "q")
    rtn(even, tmp_path / "rtn")
    assert change(even, tmp_path / "q") < change(even, tmp_path / "rtn")


def test_without_its_norms_the_file_is_another_model(dense, smooth):
    """The factors in the weights are those that the norms were divided by."""
    model, plain = load_model(smooth[0]).float(), load_model(dense).float()
    ids = torch.arange(24)[None]
    with torch.no_grad():
        exact, right = plain(ids).logits, model(ids).logits
        for name, value in plain.named_parameters():
            if "layernorm" in name:
                model.get_parameter(name).data = value.data
        wrong = model(ids).logits
    assert (wrong - exact).norm() > 5 * (right - exact).norm()


def test_the_error_that_is_reported_is_that_of_rounded_inputs(dense, smooth, tmp_path, monkeypatch):
    """So it is large where they keep their outliers, which an error of weights does not see."""
    monkeypatch.setattr(SmoothQuant, "fold", lambda *_: None)
    harder = smoothquant(dense, tmp_path / "q")
    assert 0 < 20 * smooth[1].mean_output_error < harder.mean_output_error


def test_experts_and_their_router_have_the_factors(tmp_path, tiny_tokenizer):
    """8 bits change little, and a factor that did not arrive everywhere would change much."""
    changes = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16}
    dense = save(tmp_path / "dense", tiny_tokenizer, 30.0, "mixtral", **changes)
    result = smoothquant(dense, tmp_path / "q")
    rtn(dense, tmp_path / "rtn")
    assert any(tensor.tokens is not None for tensor in result.tensors)
    assert change(dense, tmp_path / "q") < 0.3 * change(dense, tmp_path / "rtn")


def test_a_family_without_pairs_is_refused_before_anything_is_read(tmp_path):
    save_model(tiny_model("xlnet"), tmp_path / "model")  # no tokenizer: it would be missed later
    (tmp_path / "out").mkdir()
    spec = QuantizeSpec(
        model=str(tmp_path / "model"), output=str(tmp_path / "out"), method="smoothquant"
    )
    with pytest.raises(UsageError, match="no place for them") as error:
        run(spec, Job(folder=tmp_path / "out"))
    assert "round-inputs" in error.value.fix


@pytest.mark.parametrize("given", [{"method": "awq", "smoothing": 0.5}, {"smoothing": 0.7}])
def test_the_strength_is_refused_beside_other_methods(given):
    with pytest.raises(ValidationError, match="smoothing"):
        QuantizeSpec(model="m", output="o", **given)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_the_strength_is_between_0_and_1(strength):
    with pytest.raises(ValidationError, match="smoothing"):
        QuantizeSpec(model="m", output="o", method="smoothquant", smoothing=strength)


def test_another_layout_is_refused(dense, tmp_path):
    with pytest.raises(UsageError, match="gptq cannot hold what smoothquant makes"):
        smoothquant(dense, tmp_path / "q", layout="gptq")


def test_factors_that_make_outputs_worse_are_not_taken(tmp_path, tiny_tokenizer, monkeypatch):
    """Here they turn even inputs into uneven ones, and the pair stays as it is."""

    def uneven(largest, *_, **__):
        factors = torch.ones_like(largest)
        factors[::8] = 1e-3
        return factors

    monkeypatch.setattr("tfcli.quantize.methods.smooth.smoothing_factors", uneven)
    even = save(tmp_path / "even", tiny_tokenizer, outliers=1.0)
    result = smoothquant(even, tmp_path / "q")
    rtn(even, tmp_path / "rtn")
    assert not any("with factors" in (tensor.reason or "") for tensor in result.tensors)
    assert change(even, tmp_path / "q") == change(even, tmp_path / "rtn")


def test_calibration_that_is_not_finite_is_refused():
    spec = QuantizeSpec(model="m", output="o", method="smoothquant")
    method, linear = SmoothQuant(spec, -1), _Linear("q")
    method.observe([linear], torch.tensor([[1.0, float("nan")]]), None)
    with pytest.raises(Exception, match="calibration inputs are not finite"):
        method.quantize(linear, torch.ones(2, 2))


class _Linear:
    def __init__(self, name):
        self.name = self.stored_name = name
