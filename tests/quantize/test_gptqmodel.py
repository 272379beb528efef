"""What GPTQModel writes and reads, beside ours: by its golden file, and by the program itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import make_tiny_llama
from tests.quantize.golden.weights import GOLDEN, OUT, Golden
from tfcli.checkpoints.folder import load_model
from tfcli.console import Console
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.layouts.gptq import GPTQPacking
from tfcli.models.layouts.values import Affine
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.execute import execute

HELD = load_file(Path(__file__).parent / "golden/gptqmodel.safetensors")
LAYOUT = ("qweight", "qzeros", "scales", "g_idx")
PYTHON = Path(__file__).parents[2] / ".gptqmodel/bin/python"
every_golden = pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)


def packing(golden: Golden, version: str) -> GPTQPacking:
    return GPTQPacking(golden.bits, golden.group_size, golden.symmetric, version)


def test_every_width_is_held_symmetric_and_not():
    assert {(golden.bits, golden.symmetric) for golden in GOLDEN} == {
        (bits, symmetric) for bits in (2, 3, 4, 8) for symmetric in (True, False)
    }
    assert {name.partition(".")[0] for name in HELD} == {golden.name for golden in GOLDEN}


@every_golden
def test_our_packer_gives_the_tensors_that_gptqmodel_gives(golden: Golden):
    values = Affine(
        golden.levels(), golden.scales(), golden.zeros(), golden.bits, golden.group_size
    )
    for version, qzeros in (("gptq", "qzeros"), ("gptq_v2", "qzeros_v2")):
        for name, ours in packing(golden, version).pack(values).items():
            theirs = HELD[f"{golden.name}.{qzeros if name == 'qzeros' else name}"]
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
@every_golden
def test_our_layer_reads_the_weight_that_gptqmodel_reads(golden: Golden, version: str):
    layer = QuantizedLinear(golden.in_features, OUT, packing(golden, version), bias=False)
    held = {name: HELD[f"{golden.name}.{name}"] for name in LAYOUT}
    if version == "gptq_v2":
        held["qzeros"] = HELD[f"{golden.name}.qzeros_v2"]
    layer.load_state_dict(held)
    layer.verify()
    assert torch.equal(layer.dequantize(torch.float16).t(), HELD[f"{golden.name}.weight"])


THEIRS = """
import sys, torch
from gptqmodel import BACKEND, GPTQModel
model = GPTQModel.load(sys.argv[1], device="cpu", backend=BACKEND.GPTQ_TORCH, dtype=torch.float16)
linears = [m for m in model.model.modules() if type(m).__name__ == "TorchLinear"]
with torch.no_grad():
    logits = model.model(torch.arange(24)[None]).logits.float()
torch.save({"linears": len(linears), "logits": logits}, sys.argv[2])
"""


@pytest.mark.interop
@pytest.mark.skipif(not PYTHON.exists(), reason="scripts/gptqmodel makes its environment")
@pytest.mark.parametrize(("bits", "symmetric"), [(4, True), (8, False), (3, True), (2, False)])
def test_gptqmodel_runs_what_we_quantize(tmp_path, tiny_tokenizer, bits, symmetric):
    dense = make_tiny_llama(tmp_path / "dense", tiny_tokenizer, torch_dtype="float16")
    spec = QuantizeSpec(
        model=str(dense),
        output=str(tmp_path / "q"),
        method="rtn",
        bits=bits,
        group_size=32,
        symmetric=symmetric,
    )
    done = execute(spec, Console.silent()).result
    command = [PYTHON, "-c", THEIRS, str(tmp_path / "q"), str(tmp_path / "theirs.pt")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    theirs = torch.load(tmp_path / "theirs.pt")
    assert theirs["linears"] == done.quantized
    with torch.no_grad():
        ours = load_model(tmp_path / "q")(torch.arange(24)[None]).logits.float()
    error = (theirs["logits"] - ours).abs().max() / ours.abs().max()
    assert error < 0.01
