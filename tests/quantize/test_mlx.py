"""What MLX writes and reads, beside ours: by its golden file, and by mlx-lm itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.quantize.test_run import LLAMA, quantize, write_checkpoint
from tfcli.checkpoints.folder import load_model, open_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.errors import UsageError, WorkError
from tfcli.models.layouts.mlx import BITS, MLXLayout, MLXPacking
from tfcli.models.layouts.offset import Offset
from tfcli.models.layouts.values import Affine, AffineFormat
from tfcli.quantize.solvers.grid import GridOptions
from tfcli.quantize.solvers.rtn import round_to_nearest
from tfcli.recipe.execute import execute

HELD = load_file(Path(__file__).parent / "golden/mlx.safetensors")
NAMES = sorted({name.partition(".")[0] for name in HELD})
PYTHON = Path(__file__).parents[2] / ".mlx/bin/python"
every_name = pytest.mark.parametrize("name", NAMES)


def held(name: str) -> tuple[MLXPacking, dict[str, torch.Tensor]]:
    bits, size = map(int, name.split("-"))
    parts = {part: HELD[f"{name}.{part}"] for part in ("weight", "scales", "biases")}
    return MLXPacking(bits, size, parts["scales"].dtype), parts


def test_every_width_is_held():
    assert sorted(held(name)[0].bits for name in NAMES) == list(BITS)


@every_name
def test_our_reader_gives_the_weight_that_mlx_reads(name):
    packing, parts = held(name)
    dense = packing.unpack(parts).dequantize()
    torch.testing.assert_close(dense, HELD[f"{name}.dense"], rtol=0, atol=1e-7)


@every_name
def test_our_packer_gives_the_tensors_that_mlx_gives(name):
    packing, parts = held(name)
    for part, ours in packing.pack(packing.unpack(parts)).items():
        assert ours.dtype == parts[part].dtype
        assert torch.equal(ours.view(torch.uint8), parts[part].view(torch.uint8)), part


@every_name
def test_scales_of_other_groups_are_another_weight(name):
    packing, parts = held(name)
    moved = packing.unpack(parts | {"scales": parts["scales"].flip(1)})
    assert not torch.allclose(moved.dequantize(), HELD[f"{name}.dense"])


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_levels_with_zero_points_are_the_same_weight_and_come_back(bits, symmetric):
    weight = torch.randn(6, 128, generator=torch.Generator().manual_seed(bits))
    values = round_to_nearest(weight, GridOptions(bits, 64, symmetric))
    packing = MLXLayout.packing_for(AffineFormat(bits, 64, symmetric))
    stored = packing.pack(values)
    assert stored["biases"].dtype == (torch.float16 if symmetric else torch.float32)
    back = packing.unpack(stored)
    assert isinstance(back, Affine) and back.equals(values)
    offset = Offset.of(values)
    torch.testing.assert_close(offset.dequantize(), values.dequantize(), rtol=0, atol=1e-6)
    assert torch.equal(back.dequantize(), values.dequantize())
    assert torch.equal(back.levels, values.levels) and torch.equal(back.zeros, values.zeros)


def test_offsets_that_are_no_steps_are_no_zero_points():
    levels = torch.arange(64, dtype=torch.uint8).view(1, 64) % 16
    odd = Offset(levels, torch.tensor([[0.5]]), torch.tensor([[-1.2]]), 4, 64)
    assert odd.affine() is None
    beyond = Offset(levels, torch.tensor([[0.5]]), torch.tensor([[4.0]]), 4, 64)
    assert beyond.affine() is None


def test_what_the_file_cannot_hold_exactly_is_refused():
    levels = torch.zeros(1, 64, dtype=torch.uint8)
    values = Affine(levels, torch.tensor([[0.1]]), torch.tensor([[7]]), 4, 64)
    with pytest.raises(ValueError, match="float16 does not hold"):
        MLXPacking(4, 64, torch.float16).pack(values)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_folder_is_read_as_the_values_that_were_made(tmp_path, bits, symmetric):
    dense = write_checkpoint(tmp_path / "dense", LLAMA)
    done = quantize(dense, tmp_path / "q", layout="mlx", bits=bits, symmetric=symmetric)
    assert open_model(tmp_path / "q").container == "mlx"
    stored, plain = open_tensors(tmp_path / "q"), open_tensors(dense)
    name = "model.layers.1.mlp.up_proj.weight"
    assert stored[name].dtype == torch.uint32
    values = round_to_nearest(plain[name], GridOptions(bits, 32, symmetric))
    kind = torch.float16 if symmetric else torch.float32
    model = load_model(tmp_path / "q", dtype=torch.float32)
    torch.testing.assert_close(
        model.get_parameter(name), values.dequantize(kind).float(), rtol=1e-3, atol=1e-6
    )
    config = json.loads((tmp_path / "q/config.json").read_text())
    assert config["quantization"]["bits"] == bits and config["quantization"]["lm_head"] is False
    assert config["quantization_config"]["quant_method"] == "mlx"
    assert done.quantized == 14


def test_formats_that_mlx_lacks_are_refused_by_name(tmp_path):
    dense = write_checkpoint(tmp_path / "dense", LLAMA)
    with pytest.raises(UsageError, match="mlx: it has groups of 32, 64 and 128, not 16"):
        quantize(dense, tmp_path / "a", layout="mlx", group_size=16)
    with pytest.raises(UsageError, match="mlx: it says nothing of inputs"):
        quantize(dense, tmp_path / "b", layout="mlx", round_inputs=True)


def test_a_config_with_a_mode_that_is_not_read_is_named(tmp_path):
    quantize(write_checkpoint(tmp_path / "dense", LLAMA), tmp_path / "q", layout="mlx")
    path = tmp_path / "q/config.json"
    config = json.loads(path.read_text())
    config["quantization"]["mode"] = "nvfp4"
    path.write_text(json.dumps(config))
    with pytest.raises(WorkError, match="mode: 'nvfp4'"):
        load_model(tmp_path / "q")


TABLE = {"layout": "mlx", "include": ["embed_tokens", "layers"], "symmetric": False}
TIED = LLAMA | {"tie_word_embeddings": True}


def test_a_table_that_include_names_is_packed_as_mlx_dequantizes_it(tmp_path):
    dense = write_checkpoint(tmp_path / "dense", TIED)
    done = quantize(dense, tmp_path / "q", **TABLE)
    stored, name = open_tensors(tmp_path / "q"), "model.embed_tokens"
    words, scales, biases = (stored[f"{name}.{part}"] for part in ("weight", "scales", "biases"))
    assert (words.dtype, tuple(words.shape)) == (torch.uint32, (64, 64 // 8))
    levels = (words.to(torch.int64)[..., None] >> (4 * torch.arange(8))) & 15
    groups = levels.view(64, 2, 32) * scales[..., None].double() + biases[..., None].double()
    model = load_model(tmp_path / "q", dtype=torch.float32)
    table = model.get_parameter(f"{name}.weight").detach()
    torch.testing.assert_close(table.double(), groups.flatten(1), rtol=1e-3, atol=1e-3)
    assert model.lm_head.weight is model.model.embed_tokens.weight, "the head reads it as well"
    outcome = next(one for one in done.tensors if one.name == f"{name}.weight")
    assert (outcome.outcome, outcome.bits) == ("quantized", 4)
    plain = open_tensors(dense)[f"{name}.weight"]
    error = (table - plain).square().sum() / plain.square().sum()
    assert outcome.weight_error == pytest.approx(error.item(), rel=0.02)
    said = json.loads((tmp_path / "q/config.json").read_text())
    assert name not in said["quantization"] and said["tie_word_embeddings"] is True


def test_a_table_stays_packed_on_the_way_to_mlx_and_is_dense_in_other_layouts(tmp_path):
    dense = write_checkpoint(tmp_path / "dense", TIED)
    quantize(dense, tmp_path / "q", **TABLE)
    name = "model.embed_tokens.weight"
    for layout, code in (("mlx", torch.uint32), ("gptq", torch.float32)):
        spec = ConvertSpec(
            source=str(tmp_path / "q"), output=str(tmp_path / layout), to_layout=layout
        )
        execute(spec, Console.silent())
        assert open_tensors(tmp_path / layout)[name].dtype == code
    theirs, ours = (load_model(tmp_path / to, dtype=torch.float32) for to in ("mlx", "gptq"))
    torch.testing.assert_close(theirs.get_parameter(name), ours.get_parameter(name))


def test_tables_are_asked_for_where_they_can_be_packed(tmp_path):
    dense = write_checkpoint(tmp_path / "dense", TIED)
    with pytest.raises(UsageError, match=r"names model\.embed_tokens, a table of embeddings"):
        quantize(dense, tmp_path / "a", include=["embed_tokens"], layout="gptq")
    quantize(dense, tmp_path / "b", include=["model"], layout="gptq")
    assert open_tensors(tmp_path / "b")["model.embed_tokens.weight"].dtype == torch.float32


THEIRS = """
import sys
from pathlib import Path
import mlx.core as mx
from mlx_lm.utils import load_model
for folder in sys.argv[1:]:
    model, _ = load_model(Path(folder) / "q")
    logits = model(mx.arange(24)[None]).astype(mx.float32)
    linears = [n for n, m in model.named_modules() if type(m).__name__ == "QuantizedLinear"]
    tables = [n for n, m in model.named_modules() if type(m).__name__ == "QuantizedEmbedding"]
    found = {"logits": logits, "linears": mx.array(len(linears)), "tables": mx.array(len(tables))}
    mx.save_safetensors(folder + "/theirs.safetensors", found)
"""


@pytest.mark.interop
@pytest.mark.skipif(not PYTHON.exists(), reason="scripts/mlx makes its environment")
def test_mlx_lm_runs_what_we_quantize(tmp_path):
    folders = {}
    kinds = ((4, True), (4, False), (8, True), (3, True), (2, False))
    for bits, symmetric, table in (*((*kind, {}) for kind in kinds), (4, False, TABLE)):
        folder = tmp_path / f"{bits}-{symmetric}-{len(table)}"
        folder.mkdir()
        config = LLAMA | {"hidden_size": 128, "intermediate_size": 256, "rms_norm_eps": 1e-6}
        dense = write_checkpoint(folder / "dense", config | {"tie_word_embeddings": bool(table)})
        given = {"layout": "mlx", "bits": bits, "symmetric": symmetric}
        quantize(dense, folder / "q", **given | table)
        folders[folder] = symmetric
    command = [PYTHON, "-c", THEIRS, *map(str, folders)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    for folder, symmetric in folders.items():
        theirs = load_file(folder / "theirs.safetensors")
        assert int(theirs["linears"]) == 14
        assert int(theirs["tables"]) == folder.name.endswith(f"-{len(TABLE)}")
        with torch.no_grad():
            model = load_model(folder / "q", dtype=torch.float32)
            ours = model(input_ids=torch.arange(24)[None]).logits
        error = (theirs["logits"] - ours).abs().max() / ours.abs().max()
        # Symmetric weights are read in the type of their scales, float16.
        assert error < (2e-3 if symmetric else 1e-4), folder.name
