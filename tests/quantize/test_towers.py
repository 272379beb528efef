"""Models with towers for other media: calibration takes what reads text, rounding takes all."""

from __future__ import annotations

import json

import pytest
import torch

from tests.models.tiny import FIRST, content
from tests.quantize.test_run import WORDS, quantize, write_checkpoint
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.models.layers.rounded_linear import RoundedLinear
from tfcli.models.quantized import packed_linears, unpack_linears
from tfcli.quantize.run import run
from tfcli.quantize.spec import QuantizeSpec
from tfcli.quantize.unseen import REASON
from tfcli.recipe.job import Job

TOWERS = {"llava": "model.vision_tower.", "qwen2_vl": "model.visual."}
CALIBRATED = {
    "gptq": {},
    "gptq into compressed-tensors": {"layout": "compressed-tensors"},
    "awq": {},
    "smoothquant": {"group_size": None},
}
WEIGHT_ONLY = ("rtn", "hqq", "bnb")
every_family = pytest.mark.parametrize("family", TOWERS)


def write(folder, family):
    """A tiny model of the family, with sizes that groups of 32 divide."""
    config = content(family)
    config["text_config"] |= {"hidden_size": 64, "intermediate_size": 96}
    if family == "qwen2_vl":
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
        config["text_config"]["rope_parameters"] = rope
        config["vision_config"] |= {"embed_dim": 64, "hidden_size": 64}
    else:
        config["text_config"]["head_dim"] = 16
        config["vision_config"] |= {"hidden_size": 64, "intermediate_size": 96}
    return write_checkpoint(folder, config)


@pytest.fixture
def options(tmp_path):
    """What all calibrated methods are given."""
    text = tmp_path / "text.txt"
    text.write_text(" ".join(WORDS[4 + (7 * n + n // 3) % 50] for n in range(1500)))
    return {"data": str(text), "sequence_length": 16, "samples": 16}


def load(folder):
    return load_model(folder, task="image-text-to-text").float()


def logits(family, model):
    """Of texts with images."""
    inputs = FIRST[family].inputs(torch.Generator().manual_seed(0), 2)
    with torch.no_grad():
        return model(**inputs).logits


def equals_its_dequantized_weights(family, folder):
    packed, plain = load(folder), load(folder)
    unpack_linears(plain, packed_linears(plain), torch.float32)
    theirs = logits(family, plain)
    # What rounds inputs turns the last bit of one into a step.
    most = 0.03 if any(isinstance(m, RoundedLinear) for m in plain.modules()) else 1e-4
    assert (logits(family, packed) - theirs).abs().max() < most * theirs.abs().max()
    return theirs


@every_family
@pytest.mark.parametrize("way", CALIBRATED)
def test_calibration_takes_the_language_model_alone(tmp_path, options, family, way):
    dense = write(tmp_path / "dense", family)
    method = way.partition(" ")[0]
    result = quantize(dense, tmp_path / "q", method=method, **options | CALIBRATED[way])
    layers = packed_linears(load(tmp_path / "q"))
    assert len(layers) == result.quantized == 14
    assert all(name.startswith("model.language_model.layers.") for name in layers)
    before, after = load(dense), load(tmp_path / "q")
    kept = [n for n, _ in before.named_parameters() if "language_model" not in n]
    assert kept
    assert all(torch.equal(before.get_parameter(n), after.get_parameter(n)) for n in kept)
    reasons = [tensor.reason for tensor in result.tensors if tensor.outcome == "kept"]
    assert REASON in reasons
    changed = equals_its_dequantized_weights(family, tmp_path / "q")
    exact = logits(family, before)
    assert 0 < (changed - exact).norm() < 0.6 * exact.norm()


@every_family
@pytest.mark.parametrize("method", WEIGHT_ONLY)
def test_rounding_takes_towers_too(tmp_path, family, method):
    dense = write(tmp_path / "dense", family)
    quantize(dense, tmp_path / "q", method=method)
    layers = packed_linears(load(tmp_path / "q"))
    assert {name.startswith(TOWERS[family]) for name in layers} == {True, False}
    equals_its_dequantized_weights(family, tmp_path / "q")


def test_calibration_says_once_what_it_leaves(tmp_path, options, capsys):
    dense, out = write(tmp_path / "dense", "llava"), tmp_path / "q"
    out.mkdir()
    spec = QuantizeSpec(model=str(dense), output=str(out), group_size=32, **options)
    run(spec, Job(Console(), out))
    said = capsys.readouterr().err
    assert said.count("stay as they are") == 1
    assert "18 linears of model.vision_tower.encoder.layers" in " ".join(said.split())


def test_a_run_that_was_killed_goes_on(tmp_path, options):
    """With the files of towers, which nothing is made for."""
    dense = write(tmp_path / "dense", "llava")
    quantize(dense, tmp_path / "whole", method="awq", **options)
    quantize(dense, tmp_path / "cut", method="awq", **options)
    notes = sorted((tmp_path / "cut/.walk").glob("*.json"))
    assert len(notes) > 4
    for note in notes[1::2]:
        note.unlink()
    spec = QuantizeSpec(
        model=str(dense), output=str(tmp_path / "cut"), method="awq", group_size=32, **options
    )
    run(spec, Job(folder=tmp_path / "cut"))
    whole, cut = open_tensors(tmp_path / "whole"), open_tensors(tmp_path / "cut")
    assert set(whole) == set(cut)
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_asking_for_towers_alone_says_why_there_is_nothing(tmp_path, options):
    dense = write(tmp_path / "dense", "llava")
    with pytest.raises(UsageError, match="leaves nothing") as error:
        quantize(dense, tmp_path / "q", method="gptq", include=["vision_tower"], **options)
    assert "calibration does not reach model.vision_tower" in error.value.fix


def test_a_model_that_reads_no_text_is_refused_before_anything_is_read(tmp_path, options):
    folder = tmp_path / "dense"
    write_checkpoint(folder, content("vit"))
    options["data"] = str(tmp_path / "is not there")
    with pytest.raises(UsageError, match="calibrates on text, which vit does not read") as error:
        quantize(folder, tmp_path / "q", method="gptq", **options)
    assert "rtn" in error.value.fix


def test_the_config_names_what_stays_as_it_is(tmp_path, options):
    dense = write(tmp_path / "dense", "qwen2_vl")
    quantize(dense, tmp_path / "q", method="gptq", layout="compressed-tensors", **options)
    config = json.loads((tmp_path / "q/config.json").read_text())["quantization_config"]
    tower = [name for name in config["ignore"] if name.startswith("model.visual.blocks.")]
    assert len(tower) == 8
