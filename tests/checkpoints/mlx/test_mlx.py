"""MLX folders: affine-quantized weights become dense ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tfcli.checkpoints.containers import find_container, open_checkpoint
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.errors import WorkError
from tfcli.models.layouts.mlx import BITS, MLXPacking
from tfcli.recipe.execute import execute


def pack(levels: torch.Tensor, bits: int) -> torch.Tensor:
    """Rows of integers as rows of 32-bit words, bit by bit: the first value lies lowest."""
    rows = []
    for row in levels.tolist():
        number = sum(level << (place * bits) for place, level in enumerate(row))
        words = len(row) * bits // 32
        rows.append([number >> (32 * word) & 0xFFFFFFFF for word in range(words)])
    return torch.tensor(rows, dtype=torch.int64).to(torch.uint32)


def quantized(bits: int, rows: int = 6, groups: int = 2, group_size: int = 32) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(bits)
    levels = torch.randint(0, 2**bits, (rows, groups * group_size), generator=generator)
    scales = torch.rand(rows, groups, generator=generator).half()
    biases = torch.randn(rows, groups, generator=generator).half()
    wide = levels.view(rows, groups, group_size) * scales[..., None].float()
    dense = (wide + biases[..., None].float()).flatten(1).half()
    words = pack(levels, bits)
    return {"weight": words, "scales": scales, "biases": biases, "dense": dense}


def folder(
    path: Path, parts: dict[str, Any], quantization: dict[str, Any], name: str = "a"
) -> Path:
    path.mkdir()
    tensors = {f"{name}.{leaf}": parts[leaf] for leaf in ("weight", "scales", "biases")}
    tensors["norm.weight"] = torch.ones(3).half()
    write_safetensors(
        path / "model.safetensors", [PendingTensor.of(n, t) for n, t in tensors.items()]
    )
    config = {"model_type": "other", "quantization": quantization}
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("bits", BITS)
def test_every_number_of_bits(tmp_path, bits):
    parts = quantized(bits)
    source = folder(tmp_path / "in", parts, {"bits": bits, "group_size": 32})
    assert find_container(source).name == "mlx"
    out = tmp_path / "out"
    execute(ConvertSpec(source=str(source), output=str(out)), Console.silent())
    written = open_tensors(out)
    assert set(written) == {"a.weight", "norm.weight"}
    assert torch.equal(written["a.weight"], parts["dense"])
    assert "quantization" not in json.loads((out / "config.json").read_text())


def test_the_numbers_of_mlx_itself():
    """What MLX 0.32 makes of numbers from -3 to 4.75 in steps of a quarter, at 3 bits."""
    words = torch.tensor([[766963127, 651915849, 1198409]], dtype=torch.int64).to(torch.uint32)
    scales, biases = torch.tensor([[-1.1875]]), torch.tensor([[4.75]])
    counts = {-3.5625: 1, -2.375: 4, -1.1875: 5, 0.0: 5, 1.1875: 5, 2.375: 4, 3.5625: 5, 4.75: 3}
    wanted = [value for value, count in counts.items() for _ in range(count)]
    parts = {"weight": words, "scales": scales, "biases": biases}
    assert MLXPacking(3, 32).unpack(parts).dequantize().tolist() == [wanted]


def test_a_module_may_have_a_packing_of_its_own(tmp_path):
    parts = quantized(8)
    own = {"bits": 4, "group_size": 64, "a": {"bits": 8, "group_size": 32}}
    view = open_checkpoint(folder(tmp_path / "in", parts, own))
    assert torch.equal(view.tensors["a.weight"].read(), parts["dense"])
    assert view.tensors["a.weight"].how == "8 bits in groups of 32 dequantized"


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        ({"bits": 4, "group_size": 32, "mode": "mxfp4"}, "mode: 'mxfp4'"),
        ({"bits": 7, "group_size": 32}, "bits: 7"),
        ({"bits": 4, "group_size": 0}, "group_size: 0"),
        ({"bits": 8, "group_size": 32}, "do not give"),
        ({"bits": 4, "group_size": 64}, "do not give"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, quantization, message):
    source = folder(tmp_path / "in", quantized(4), quantization)
    with pytest.raises(WorkError, match=message):
        execute(ConvertSpec(source=str(source), output=str(tmp_path / "o")), Console.silent())
    assert not (tmp_path / "o").exists()


def test_a_missing_part_is_named(tmp_path):
    parts = quantized(4)
    source = folder(tmp_path / "in", parts, {"bits": 4, "group_size": 32})
    kept = {"a.weight": parts["weight"], "a.scales": parts["scales"]}
    write_safetensors(
        source / "model.safetensors", [PendingTensor.of(n, t) for n, t in kept.items()]
    )
    with pytest.raises(WorkError, match=r"a\.biases' is missing"):
        open_checkpoint(source)
