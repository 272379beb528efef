"""What optimum-quanto writes, read here: by its golden file, and by itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import make_tiny_llama
from tests.quantize.golden.quanto_cases import CASES
from tests.quantize.packed_folders import Parts, held, layer, pack_folder, require_runs
from tfcli.checkpoints.folder import load_model
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.errors import WorkError
from tfcli.inspect.open import quantization_of
from tfcli.models.errors import ModelError
from tfcli.models.layouts.quanto import QuantoBits, QuantoBytes, QuantoLayout, group_of
from tfcli.models.quantized import packed_linears
from tfcli.recipe.execute import execute

HELD = load_file(Path(__file__).parent / "golden/quanto.safetensors")
PYTHON = Path(__file__).parents[2] / ".quanto/bin/python"
BITS = [case for case in CASES if case.startswith(("int4", "int2"))]
every_case = pytest.mark.parametrize("case", CASES)


def parts_of(case: str) -> Parts:
    aside = ("read", "input_scale", "output_scale")
    return {name: part for name, part in held(HELD, case).items() if name not in aside}


def packing_of(case: str) -> QuantoBytes | QuantoBits:
    kind, (_, n) = CASES[case]
    if case not in BITS:
        return QuantoBytes(kind)
    return QuantoBits(int(kind.removeprefix("qint")), n)


@every_case
def test_we_read_the_weight_that_quanto_reads(case):
    parts, shape = parts_of(case), CASES[case][1]
    made = layer(packing_of(case), parts, shape)
    made.verify()
    likes = made.packing.parts(shape[1], shape[0])
    assert likes.keys() == parts.keys()
    assert all(
        like.takes(parts[n].dtype) and like.fits(parts[n].shape) for n, like in likes.items()
    )
    assert torch.equal(made.dequantize(), HELD[f"{case}.read"])


@every_case
def test_scales_and_shifts_of_other_groups_give_another_weight(case):
    parts, shape = parts_of(case), CASES[case][1]
    for part in set(parts) & {"weight._scale", "weight._shift"}:
        made = layer(packing_of(case), parts | {part: parts[part].flip(0)}, shape)
        assert not torch.allclose(made.dequantize(), HELD[f"{case}.read"])


def test_groups_are_those_that_quanto_chooses():
    sizes = {64: 64, 128: 128, 256: 128, 192: 96, 320: 64, 160: 32, 130: 130}
    assert {n: group_of(n) for n in sizes} == sizes


def pack(kind: str) -> object:
    """A function that packs a weight as quanto does, by the formulas of its source."""

    def bits(weight: torch.Tensor) -> Parts:
        width = 8 // int(kind[-1])
        rows = weight.reshape(-1, group_of(weight.shape[1]))
        low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
        scale = (high - low) / ((1 << 8 // width) - 1)
        levels = ((rows - low) / scale).round().to(torch.uint8)
        filled = torch.zeros(-(-len(levels) // width) * width, levels.shape[1], dtype=torch.uint8)
        filled[: len(levels)] = levels
        stretches = filled.view(width, -1, levels.shape[1])
        packed = torch.zeros_like(stretches[0])
        for at, stretch in enumerate(stretches):
            packed |= stretch << at * (8 // width)
        return {"weight._data._data": packed, "weight._scale": scale, "weight._shift": -low}

    def eight(weight: torch.Tensor) -> Parts:
        scale = weight.abs().amax(1, keepdim=True) / 127
        return {"weight._data": (weight / scale).round().to(torch.int8), "weight._scale": scale}

    def whole(weight: torch.Tensor) -> Parts:
        one = {"input_scale": torch.ones(()), "output_scale": torch.ones(())}
        return (eight if kind == "int8" else bits)(weight.float()) | one

    return whole


@pytest.mark.parametrize("kind", ["int8", "int4", "int2"])
@pytest.mark.parametrize("by_map", [False, True], ids=["config", "map"])
def test_a_folder_is_loaded_dequantized_and_counted(tmp_path, tiny_tokenizer, kind, by_map):
    settings = {"quant_method": "quanto", "weights": kind, "activations": None}
    sizes = {"intermediate_size": 192}
    folder = pack_folder(
        tmp_path / "q", tiny_tokenizer, pack(kind), None if by_map else settings, **sizes
    )
    if by_map:
        names = {n.removesuffix(".input_scale") for n in _names(folder) if "input_scale" in n}
        said = {name: {"weights": f"q{kind}", "activations": "none"} for name in names}
        (folder / "quanto_qmap.json").write_text(json.dumps(said))
    read = require_runs(folder)
    dense = pack_folder(tmp_path / "d", tiny_tokenizer, lambda w: {"weight": w}, None, **sizes)
    (path,) = dense.glob("*.safetensors")
    most = {"int8": 0.01, "int4": 0.06, "int2": 0.3}[kind]
    for name, weight in load_file(path).items():
        if "_proj" in name:
            close = read[name.removesuffix(".weight")]
            torch.testing.assert_close(close, weight.float(), rtol=0, atol=most)
    found = quantization_of({"quantization_config": settings})
    assert found is not None and (found.method, found.bits) == ("quanto", int(kind[-1]))


def test_packed_weights_of_which_nothing_is_said_are_refused(tmp_path, tiny_tokenizer):
    folder = pack_folder(tmp_path / "q", tiny_tokenizer, pack("int4"), None)
    with pytest.raises(WorkError, match="nothing says in how many bits") as caught:
        load_model(folder)
    assert "quanto_qmap.json" in str(caught.value.fix)


def test_the_map_goes_along(tmp_path, tiny_tokenizer):
    folder = pack_folder(tmp_path / "q", tiny_tokenizer, pack("int8"), None)
    names = {n.removesuffix(".input_scale") for n in _names(folder) if "input_scale" in n}
    said = {name: {"weights": "qint8", "activations": "none"} for name in names}
    (folder / "quanto_qmap.json").write_text(json.dumps(said))
    spec = ConvertSpec(source=str(folder), output=str(tmp_path / "copy"))
    execute(spec, Console.silent())
    assert json.loads((tmp_path / "copy/quanto_qmap.json").read_text()) == said
    assert set(_names(tmp_path / "copy")) == set(_names(folder))
    assert len(packed_linears(load_model(tmp_path / "copy"))) == 14


def _names(folder: Path) -> list[str]:
    (path,) = folder.glob("*.safetensors")
    return list(load_file(path))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"weights": "int3"}, "weights: 'int3'"),
        ({"weights": 4}, "weights: 4"),
        ({"weights": "int8", "activations": "int8"}, "activations: 'int8'"),
        ({"quantization_map": []}, "quantization_map"),
        ({"quantization_map": {"a": 3}}, "quantization_map.a: 3"),
        ({"quantization_map": {"a": {"weights": "none"}}}, "no weights"),
        (
            {"quantization_map": {"a": {"weights": "qint8", "activations": "qint8"}}},
            "a.activations: 'qint8'",
        ),
    ],
)
def test_settings_that_are_not_supported_are_named(settings, said):
    with pytest.raises(ModelError, match=said):
        QuantoLayout.from_config({"quant_method": "quanto", **settings})


WRITES = """
import sys, torch
from optimum.quanto import QuantizedModelForCausalLM
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
model = QuantizedModelForCausalLM.quantize(model, weights=sys.argv[3], exclude="lm_head")
model.save_pretrained(sys.argv[2])
model = model._wrapped
read = {
    f"{name}.weight": module.weight.dequantize()
    for name, module in model.named_modules()
    if "_proj" in name
}
with torch.no_grad():
    read["logits"] = model(torch.arange(20)[None]).logits
torch.save(read, sys.argv[2] + "/theirs.pt")
"""


@pytest.mark.interop
@pytest.mark.skipif(not PYTHON.exists(), reason="scripts/quanto makes it")
@pytest.mark.parametrize("kind", ["qint8", "qint4", "qfloat8"])
def test_we_read_what_quanto_writes(tmp_path, tiny_tokenizer, kind):
    dense = make_tiny_llama(tmp_path / "dense", tiny_tokenizer, intermediate_size=192)
    command = [PYTHON, "-c", WRITES, str(dense), str(tmp_path / "q"), kind]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    theirs = torch.load(tmp_path / "q/theirs.pt")
    (tmp_path / "q/theirs.pt").unlink()
    model = load_model(tmp_path / "q", dtype=torch.float32)
    with torch.no_grad():
        logits = model(input_ids=torch.arange(20)[None]).logits
    torch.testing.assert_close(logits, theirs.pop("logits"), rtol=1e-3, atol=1e-3)
    ours = packed_linears(model)
    assert {f"{name}.weight" for name in ours} == theirs.keys()
    for name, linear in ours.items():
        assert torch.equal(linear.dequantize(), theirs[f"{name}.weight"])
