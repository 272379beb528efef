"""`tfcli convert --to-layout`: the same values in another layout, or a reason why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.dequantize.test_dequantize import join_files
from tests.quantize.test_run import LLAMA, write_checkpoint
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.packed.linears import find_packed
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.errors import UsageError, WorkError
from tfcli.models.layouts.mlx import MLXLayout
from tfcli.models.layouts.registry import LAYOUTS
from tfcli.models.layouts.values import AffineFormat
from tfcli.quantize.run import run as run_quantize
from tfcli.quantize.solvers.grid import GridOptions
from tfcli.quantize.solvers.rtn import round_to_nearest
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.execute import execute
from tfcli.recipe.job import Job

WIDE = LLAMA | {"hidden_size": 64, "intermediate_size": 128}
GRID: dict[str, Any] = {"method": "rtn", "bits": 4, "group_size": 32}
LEVELS = {"gptq", "awq", "compressed-tensors", "mlx", "torchao"}
BYTES = {"compressed-tensors", "torchao"}
SOURCES: dict[str, tuple[dict[str, Any], set[str]]] = {
    **{name: (GRID | {"layout": name}, LEVELS) for name in sorted(LEVELS)},
    **{
        f"{name}-asymmetric": (GRID | {"layout": name, "symmetric": False}, LEVELS)
        for name in sorted(LEVELS)
    },
    "gptq-rows": (GRID | {"bits": 8, "group_size": -1}, {"gptq", *BYTES}),
    "w8a8": (
        GRID | {"bits": 8, "group_size": -1, "round_inputs": True, "layout": "compressed-tensors"},
        BYTES,
    ),
    "fp8": ({"method": "fp8"}, BYTES),
    "hqq": ({"method": "hqq", "bits": 4, "group_size": 32}, {"hqq"}),
    "nf4": ({"method": "bnb"}, {"bitsandbytes"}),
    "int8": ({"method": "bnb", "bits": 8}, {"bitsandbytes"}),
}
"""How a checkpoint is quantized, and the layouts that hold what comes out."""


def relay(source: Path, output: Path, layout: str, **options: Any) -> None:
    spec = ConvertSpec(source=str(source), output=str(output), to_layout=layout, **options)
    execute(spec, Console.silent())


def made(folder: Path, options: dict[str, Any]) -> Path:
    """A checkpoint of `write_checkpoint`, quantized."""
    dense = write_checkpoint(folder.with_name("dense"), WIDE)
    folder.mkdir()
    spec = QuantizeSpec(model=str(dense), output=str(folder), **options)
    run_quantize(spec, Job(folder=folder))
    return folder


def method(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text())
    return str(config["quantization_config"]["quant_method"])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The packed weights in fp32, exactly."""
    opened = open_checkpoint(folder, Reading(packed=True))
    return {linear.name: linear.open(opened).dequantize() for linear in find_packed(opened)}


@pytest.mark.parametrize("source", SOURCES)
def test_values_stay_the_same_there_and_back_or_it_is_refused(tmp_path, source):
    options, holds = SOURCES[source]
    first = made(tmp_path / "q", options)
    before, exact = open_tensors(first), weights(first)
    assert len(exact) == 14
    for layout in LAYOUTS:
        there, back = tmp_path / layout, tmp_path / f"{layout}-back"
        if layout not in holds:
            with pytest.raises(UsageError, match=f"the layout {layout} cannot hold"):
                relay(first, there, layout)
            continue
        relay(first, there, layout)
        assert method(there) == layout
        for name, weight in weights(there).items():
            assert torch.equal(weight, exact[name]), (layout, name)
        relay(there, back, method(first))
        after = open_tensors(back)
        assert set(before) == set(after)
        for name in before:
            assert before[name].dtype == after[name].dtype, (layout, name)
            assert torch.equal(before[name], after[name]), (layout, name)


def test_zero_points_that_are_all_the_middle_make_a_symmetric_weight(tmp_path):
    """AWQ stores zero points of every weight, and GPTQModel takes gptq_v2 of asymmetric ones."""
    relay(made(tmp_path / "q", GRID | {"layout": "awq"}), tmp_path / "gptq", "gptq")
    config = json.loads((tmp_path / "gptq/config.json").read_text())["quantization_config"]
    assert config["sym"] is True and config["checkpoint_format"] == "gptq"


def test_offsets_that_are_no_whole_steps_are_in_no_other_layout(tmp_path):
    folder = made(tmp_path / "q", GRID | {"layout": "mlx"})
    join_files(folder)
    held = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.biases"
    save_file(held | {name: held[name] * 1.25}, folder / "model.safetensors")
    relay(folder, tmp_path / "same", "mlx")
    with pytest.raises(WorkError, match="their offsets are no whole steps"):
        relay(folder, tmp_path / "other", "gptq")


def test_a_packed_table_is_dense_in_layouts_that_pack_none(tmp_path):
    """mlx-lm packs tables of embeddings too, and no config of the others says so."""
    folder = made(tmp_path / "q", GRID | {"layout": "mlx"})
    join_files(folder)
    held = load_file(folder / "model.safetensors")
    packing = MLXLayout.packing_for(AffineFormat(4, 32))
    values = round_to_nearest(held.pop("model.embed_tokens.weight"), GridOptions(4, 32))
    parts = {f"model.embed_tokens.{part}": value for part, value in packing.pack(values).items()}
    save_file(held | parts, folder / "model.safetensors")
    relay(folder, tmp_path / "out", "gptq")
    found = load_model(tmp_path / "out", dtype=torch.float32)
    table = found.get_parameter("model.embed_tokens.weight")
    assert torch.equal(table, packing.unpack(packing.pack(values)).dequantize())


def test_linears_that_are_dense_stay_so(tmp_path):
    source = made(tmp_path / "q", GRID | {"exclude": ["down_proj"]})
    for layout in sorted(LEVELS):
        relay(source, tmp_path / layout, layout)
        assert method(tmp_path / layout) == layout
        assert "down_proj" not in " ".join(weights(tmp_path / layout))
        load_model(tmp_path / layout)


def test_a_dense_checkpoint_has_no_layout(tmp_path):
    dense = write_checkpoint(tmp_path / "dense", LLAMA)
    with pytest.raises(UsageError, match="the weights are dense"):
        relay(dense, tmp_path / "out", "gptq")


def test_a_file_that_is_not_quantized_has_no_layout(tmp_path):
    dense = write_checkpoint(tmp_path / "dense", WIDE)
    options: dict[str, Any] = {"to": "gguf", "tokenizer": False}
    execute(ConvertSpec(source=str(dense), output=str(tmp_path / "g"), **options), Console.silent())
    (file,) = (tmp_path / "g").glob("*.gguf")
    with pytest.raises(UsageError, match="the weights are dense"):
        relay(file, tmp_path / "out", "gptq")
