"""`tfcli convert --to-layout`: the same values in another layout, or a reason why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.dequantize.test_dequantize import quantized
from tests.quantize.test_run import LLAMA, write_checkpoint
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.errors import UsageError
from tfcli.models.quantized import packed_linears
from tfcli.recipe.execute import execute

PAIRS = [("gptq", "gptq"), ("gptq", "compressed-tensors"), ("compressed-tensors", "gptq")]


def relay(source: Path, output: Path, layout: str) -> None:
    spec = ConvertSpec(source=str(source), output=str(output), to_layout=layout)
    execute(spec, Console.silent())


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_values_stay_the_same_there_and_back(tmp_path, first, second, symmetric):
    source = quantized(tmp_path / "q", layout=first, symmetric=symmetric)
    relay(source, tmp_path / "other", second)
    relay(tmp_path / "other", tmp_path / "back", first)
    one, other = (packed_linears(load_model(p)) for p in (source, tmp_path / "other"))
    assert one.keys() == other.keys()
    for name, linear in one.items():
        assert torch.equal(linear.dequantize(), other[name].dequantize())
    before, after = open_tensors(source), open_tensors(tmp_path / "back")
    assert set(before) == set(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_linears_that_are_dense_stay_so(tmp_path):
    source = quantized(tmp_path / "q", exclude=["down_proj"])
    relay(source, tmp_path / "out", PAIRS[0][1])
    assert "down_proj" not in " ".join(packed_linears(load_model(tmp_path / "out")))
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["quantization_config"]["quant_method"] == PAIRS[0][1]


def test_a_dense_checkpoint_has_no_layout(tmp_path):
    dense = write_checkpoint(tmp_path / "dense", LLAMA)
    with pytest.raises(UsageError, match="the weights are dense"):
        relay(dense, tmp_path / "out", "gptq")
