"""Folders that AutoRound wrote are read as the layouts that they are in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.quantize.packed_folders import held
from tfcli.checkpoints.containers import open_ref
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.dequantize.spec import DequantizeSpec
from tfcli.errors import ModelError, UsageError, WorkError
from tfcli.inspect.count import count_parameters
from tfcli.inspect.open import quantization_of
from tfcli.models.layouts.registry import layout_of
from tfcli.models.quantized import packed_linears
from tfcli.recipe.execute import execute

GOLDEN = Path(__file__).parent / "golden"
HELD = load_file(GOLDEN / "auto_round.safetensors")
CONFIGS = json.loads((GOLDEN / "auto_round.json").read_text())
IDS = torch.arange(8)[None]
BITS = {"gptq": [4, 8], "gptq_v2": [2], "awq": [4], "mxfp4": [4], "nvfp4": [4]}
BLOCK = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def folder(case: str, path: Path, **changes: object) -> Path:
    path.mkdir(exist_ok=True)
    tensors = held(HELD, case)
    del tensors["logits"]
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    config = json.loads(json.dumps(CONFIGS[case]))
    config["quantization_config"] |= changes
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("case", BITS)
def test_a_folder_gives_the_logits_of_the_dense_model_that_auto_round_makes(case, tmp_path):
    source = folder(case, tmp_path / "q")
    execute(
        DequantizeSpec(model=str(source), output=str(tmp_path / "d"), dtype="float32"),
        Console.silent(),
    )
    dense = load_model(tmp_path / "d", dtype=torch.float32)
    with torch.no_grad():
        found = dense(input_ids=IDS).logits[0]
    # The weights of AutoRound's dense model are rounded to fp16.
    torch.testing.assert_close(found, HELD[f"{case}.logits"], rtol=2e-3, atol=5e-3)

    packed = load_model(source, dtype=torch.float32)
    linears = packed_linears(packed)
    assert sorted({linear.packing.format.bits for linear in linears.values()}) == BITS[case]
    for name, linear in linears.items():
        assert torch.equal(linear.dequantize(), dense.get_parameter(f"{name}.weight")), name
    inner = {name.rpartition(".")[2] for name in linears}
    left = {"q_proj"} if case in ("gptq", "awq") else set()
    assert inner == set(BLOCK) - left

    settings = CONFIGS[case]["quantization_config"]
    count = count_parameters(open_tensors(source).infos(), settings)
    if case != "gptq":  # whose 8 bits are counted by the bits of the others
        assert count == (sum(p.numel() for p in dense.parameters()), True)
    shown = quantization_of({"quantization_config": settings})
    assert shown is not None and shown.method == "auto-round"
    assert (shown.bits, shown.group_size) == (settings["bits"], settings["group_size"])


def test_convert_moves_it_to_another_layout(tmp_path):
    source = folder("awq", tmp_path / "q")
    spec = ConvertSpec(source=str(source), output=str(tmp_path / "o"), to_layout="gptq")
    execute(spec, Console.silent())
    one, other = (load_model(path, dtype=torch.float32) for path in (source, tmp_path / "o"))
    moved = packed_linears(other)
    assert moved and all(
        torch.equal(linear.dequantize(), moved[name].dequantize())
        for name, linear in packed_linears(one).items()
    )


def test_names_and_patterns_say_what_is_packed_otherwise():
    """By AutoRound's `get_layer_config`: names count before patterns, which are searched for."""
    settings = CONFIGS["gptq"]["quantization_config"] | {
        "block_name_to_quantize": [["model.layers.0", "model.layers.1"]],
        "extra_config": {
            ".*mlp\\.down.*": {"bits": 8},
            ".*v_proj.*": {"bits": 16},
            "model.layers.1.mlp.down_proj": {"group_size": 64},
            "lm_head": {"bits": 8},
        },
    }
    layout = layout_of(settings)

    def form(name: str) -> tuple[int, int] | None:
        packing = layout.packing_of(name)
        return None if packing is None else (packing.format.bits, packing.format.group_size)

    assert form("model.layers.0.mlp.up_proj") == (4, 32)
    assert form("model.layers.0.mlp.down_proj") == (8, 32)
    assert form("model.layers.1.mlp.down_proj") == (4, 64)
    assert form("model.layers.1.self_attn.v_proj") is None
    assert form("model.layers.10.mlp.up_proj") is None
    assert layout.head and form("lm_head") == (8, 32)
    assert form("vision.layers.0.mlp.up_proj") is None


@pytest.mark.parametrize(
    ("case", "changes", "why"),
    [
        ("gptq", {"packing_format": "mlx"}, "packing_format: 'mlx'"),
        ("gptq", {"rotation_config": {"a": 1}}, "rotation_config"),
        ("gptq", {"act_bits": 8}, "act_bits: 8"),
        ("gptq", {"act_bits": "8"}, "act_bits: '8'"),
        ("gptq", {"bits": "4"}, "bits: '4'"),
        ("gptq", {"extra_config": {"a": {"act_bits": "8"}}}, "extra_config.a.act_bits"),
        ("mxfp4", {"bits": [4]}, "bits: "),
        ("gptq", {"data_type": "mx_fp"}, "data_type: 'mx_fp'"),
        ("gptq", {"extra_config": {"(": {}}}, "bad pattern"),
        ("awq", {"extra_config": {"a.b": {"bits": 8}}}, "extra_config.a.b"),
        ("mxfp4", {"data_type": "int"}, "data_type: 'int of 4 bits'"),
        ("mxfp4", {"act_dynamic": False}, "act_dynamic: False"),
    ],
)
def test_what_its_config_asks_beyond_that_is_refused(case, changes, why, tmp_path):
    with pytest.raises((ModelError, UsageError, WorkError), match=why):
        load_model(open_ref(str(folder(case, tmp_path / "q", **changes))).path)
