"""Families whose linears have other names in checkpoints than in the model, such as ViT's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.dequantize.test_dequantize import join_files
from tests.models.tiny import FIRST, content
from tests.quantize.test_run import quantize, write_checkpoint
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.dequantize.spec import DequantizeSpec
from tfcli.inspect.count import count_parameters
from tfcli.models.model import Model
from tfcli.models.quantized import packed_linears
from tfcli.models.rules import place_of
from tfcli.recipe.execute import execute
from tfcli.recipe.spec import Spec

FAMILIES = ("vit", "deit", "dinov2", "dinov2_with_registers")
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}
METHODS = {
    "gptq": {"method": "rtn"},
    "int8": {"method": "rtn", "bits": 8, "group_size": -1, "round_inputs": True},
    "hqq": {"method": "hqq"},
    "bnb": {"method": "bnb", "group_size": 64},
}
every_family = pytest.mark.parametrize("family", FAMILIES)


def states(family: str, model: Model) -> torch.Tensor:
    """Of images."""
    inputs = FIRST[family].inputs(torch.Generator().manual_seed(0), 2)
    with torch.no_grad():
        found: torch.Tensor = model(**inputs).last_hidden_state
    return found


def load(folder: Path) -> Model:
    return load_model(folder, task=None, dtype=torch.float32)


def done(spec: Spec) -> None:
    execute(spec, Console.silent())


@every_family
@pytest.mark.parametrize("way", METHODS)
def test_every_verb_finds_the_packed_weights(tmp_path, family, way):
    dense = write_checkpoint(tmp_path / "dense", content(family, **SIZES))
    folder = tmp_path / "q"
    result = quantize(dense, folder, **METHODS[way])
    model = load(folder)
    packed = packed_linears(model)
    assert len(packed) == result.quantized > 0
    done(DequantizeSpec(model=str(folder), output=str(tmp_path / "back"), dtype="float32"))
    back = load(tmp_path / "back")
    for name, linear in packed.items():
        assert torch.equal(back.get_parameter(f"{name}.weight"), linear.dequantize())
    count, known = count_parameters(open_tensors(folder).infos(), model.config.quantization)
    assert known and count == sum(p.numel() for p in back.parameters())
    exact, ours = states(family, load(dense)), states(family, model)
    assert 0 < (ours - exact).norm() < 0.5 * exact.norm()


@every_family
def test_parts_that_were_renamed_as_dense_weights_are_read(tmp_path, family):
    """As transformers 5 saves them."""
    dense = write_checkpoint(tmp_path / "dense", content(family, **SIZES))
    folder = tmp_path / "q"
    quantize(dense, folder)
    before = load(folder)
    join_files(folder)
    held = load_file(folder / "model.safetensors")
    renamed = {place_of(before.rules(), name).name: tensor for name, tensor in held.items()}
    assert any(name.endswith("attention.query.qweight") for name in renamed)
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    assert torch.equal(states(family, load(folder)), states(family, before))
    spec = ConvertSpec(source=str(folder), output=str(tmp_path / "ct"), to_layout="torchao")
    done(spec)
    assert torch.equal(states(family, load(tmp_path / "ct")), states(family, before))
