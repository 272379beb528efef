"""What the hqq library writes and reads, beside ours: by its golden file, and by itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import make_tiny_llama
from tests.quantize.golden.hqq_weights import CASES, LARGE, SHAPE, Case, weight
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.dequantize.spec import DequantizeSpec
from tfcli.inspect.count import count_parameters
from tfcli.models.errors import ModelError
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.layouts.hqq import HQQFormat, HQQLayout, HQQPacking, pack, unpack
from tfcli.models.layouts.layout import Packed
from tfcli.models.layouts.packing import buffer_of
from tfcli.models.layouts.tags import tag_of
from tfcli.models.quantized import packed_linears
from tfcli.quantize.solvers.hqq import cost, half_quadratic
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.execute import execute

HELD = load_file(Path(__file__).parent / "golden/hqq.safetensors")
PYTHON = Path(__file__).parents[2] / ".hqq/bin/python"
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def packing(case: Case) -> HQQPacking:
    size = -1 if case.group_size is None else case.group_size
    return HQQPacking(case.bits, size, case.axis, case.compute, case.view_as_float)


def held(case: Case) -> dict[str, torch.Tensor]:
    prefix = f"{case.name}."
    found = {n.removeprefix(prefix): t for n, t in HELD.items() if n.startswith(prefix)}
    return {n: t for n, t in found.items() if n not in ("weight", "objective")}


def layer(case: Case, parts: dict[str, torch.Tensor]) -> QuantizedLinear:
    made = QuantizedLinear(SHAPE[1], SHAPE[0], packing(case), bias=False)
    for name, part in parts.items():
        setattr(made, buffer_of(name), part)
    return made


@every_case
def test_we_read_the_weight_that_hqq_reads_and_write_it_as_hqq_did(case):
    parts = held(case)
    made = layer(case, parts)
    made.verify()
    theirs = HELD[f"{case.name}.weight"].float()
    if case.compute == "float32":
        assert torch.equal(made.dequantize(), theirs)
    else:  # the library rounds each step of the arithmetic, we the result
        exact = made.dequantize()
        step = parts["scale"].float().abs().max() * parts["zero"].float().abs().max()
        assert (exact - theirs).abs().max() < 2 * torch.finfo(getattr(torch, case.compute)).eps * (
            step + exact.abs().max()
        )
    again = made.packing.pack(made.values)
    assert again.keys() == parts.keys()
    for name, part in again.items():
        assert part.dtype == parts[name].dtype
        bits, theirs = (t.reshape(-1).view(torch.uint8) for t in (part, parts[name]))
        assert part.shape == parts[name].shape and torch.equal(bits, theirs), name


@every_case
def test_the_objective_is_no_worse_than_that_of_hqq(case):
    form = packing(case).format
    errors = half_quadratic(weight(LARGE), form).dequantize() - weight(LARGE)
    ours, theirs = cost(errors.double()).sum(), HELD[f"{case.name}.objective"]
    assert ours <= theirs * (1 + 1e-6)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("bits", [8, 4, 3, 2, 1])
def test_what_is_quantized_is_stored_and_read_as_it_is(bits, axis):
    form = HQQFormat(bits, 16, axis)
    values = half_quadratic(weight(SHAPE), form)
    stored = HQQLayout.packing_for(form)
    back = stored.unpack(stored.pack(values))
    assert type(back) is type(values)
    assert torch.equal(back.dequantize(), values.dequantize())
    error = (values.dequantize() - weight(SHAPE)).square().sum() / weight(SHAPE).square().sum()
    assert error < {8: 1e-3, 4: 0.02, 3: 0.07, 2: 0.3, 1: 1}[bits]


@pytest.mark.parametrize("bits", [8, 4, 3, 2, 1])
def test_levels_round_trip(bits):
    levels = (torch.arange(40 * 6) * 7 % (1 << bits)).view(40, 6).to(torch.uint8)
    assert torch.equal(unpack(pack(levels, bits), bits)[:40], levels)


def test_a_constant_group_and_one_far_from_zero_are_kept():
    rows = torch.stack([torch.full((64,), 0.3), 40 + torch.linspace(0, 1e-3, 64), torch.zeros(64)])
    for bits in (8, 4, 1):
        found = half_quadratic(rows, HQQFormat(bits, 64)).dequantize()
        assert torch.isfinite(found).all()
        torch.testing.assert_close(found, rows, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("nbits", lambda part: part + 1, "nbits"),
        ("axis", lambda part: 1 - part, "axis"),
        ("group_size", lambda part: part * 2, "group_size"),
        ("quant_zero", lambda part: part + 1, "quant_zero"),
        ("shape", lambda part: part * 2, "W_q"),
        ("shape", lambda part: -part, "shape"),
        ("shape", lambda part: part.flip(0), "inputs"),
        ("scale", lambda part: part * float("nan"), "not finite"),
        ("packing", lambda part: part + 1, "packing"),
    ],
)
def test_a_linear_that_says_something_else_than_its_config_is_refused(part, change, said):
    case = CASES[0]
    parts = held(case)
    with pytest.raises(ModelError, match=said):
        layer(case, parts | {part: change(parts[part])}).verify("model.q_proj")


def test_scales_of_other_groups_give_another_weight():
    case = CASES[0]
    parts = held(case)
    assert not torch.equal(
        layer(case, parts | {"scale": parts["scale"].flip(0)}).dequantize(),
        HELD[f"{case.name}.weight"],
    )


OPTIONS = {"nbits": 4, "group_size": 64, "axis": 1, "view_as_float": False, "channel_wise": True}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nbits": 7}, "nbits: 7"),
        ({"nbits": True}, "nbits: True"),
        ({"axis": 2}, "axis: 2"),
        ({"group_size": 0}, "group_size: 0"),
        ({"channel_wise": False}, "channel_wise: False"),
        ({"view_as_float": "yes"}, "view_as_float: 'yes'"),
    ],
)
def test_options_that_are_not_supported_are_named(options, said):
    config = {"quant_config": {"weight_quant_params": OPTIONS | options}}
    with pytest.raises(ModelError, match=said):
        HQQLayout.from_config(config)


def test_quantized_scales_and_configs_that_are_none_are_named():
    held = {"weight_quant_params": OPTIONS, "scale_quant_params": {"nbits": 8}}
    with pytest.raises(ModelError, match="scale_quant_params"):
        HQQLayout.from_config({"quant_config": held})
    for odd in (None, [], {"mlp.up_proj": 3}):
        with pytest.raises(ModelError, match="quant_config"):
            HQQLayout.from_config({"quant_config": odd})
    with pytest.raises(ModelError, match="skip_modules"):
        HQQLayout.from_config({"quant_config": {"weight_quant_params": OPTIONS}, "skip_modules": 1})


def test_a_config_names_linears_by_their_place_in_a_block():
    assert tag_of("model.layers.3.mlp.up_proj") == "mlp.up_proj"
    four, two = HQQPacking(4), HQQPacking(2)
    names = [f"model.layers.{at}.{name}" for at in (0, 1) for name in ("q_proj", "up_proj")]
    packings = {name: two if "up" in name else four for name in names}
    layout = HQQLayout.of(Packed(packings, [], ["model.layers"], outside=["lm_head"]))
    config = layout.to_config()
    assert config["quant_config"]["up_proj"]["weight_quant_params"]["nbits"] == 2
    read = HQQLayout.from_config(config)
    assert [read.packing_of(name).bits for name in names] == [4, 2, 4, 2]
    assert read.packing_of("lm_head") is None
    assert read.packing_of("model.layers.0.down_proj") is None
    with pytest.raises(ModelError, match="q_proj"):
        HQQLayout.of(Packed(packings | {names[0]: two}, [], ["model.layers"]))


THEIRS = """
import sys, torch
from pathlib import Path
from safetensors.torch import load_file
from hqq.core.quantize import HQQLinear
files = Path(sys.argv[1]).glob("*.safetensors")
held = {name: tensor for file in files for name, tensor in load_file(file).items()}
names = sorted(name.removesuffix(".W_q") for name in held if name.endswith(".W_q"))
read = {}
for name in names:
    parts = {k.removeprefix(name + "."): v for k, v in held.items() if k.startswith(name + ".")}
    linear = HQQLinear(None, None, compute_dtype=torch.float32, device="cpu")
    linear.load_state_dict(parts)
    read[name] = linear.dequantize().contiguous()
torch.save(read, sys.argv[2])
"""


@pytest.mark.interop
@pytest.mark.skipif(not PYTHON.exists(), reason="scripts/hqq makes its environment")
@pytest.mark.parametrize(("bits", "axis"), [(8, 1), (4, 0), (3, 1), (2, 0), (1, 1)])
def test_hqq_reads_what_we_quantize(tmp_path, tiny_tokenizer, bits, axis):
    dense = make_tiny_llama(tmp_path / "dense", tiny_tokenizer)
    spec = QuantizeSpec(
        model=str(dense),
        output=str(tmp_path / "q"),
        method="hqq",
        bits=bits,
        axis=axis,
        group_size=16,
        compute_dtype="float32",
    )
    execute(spec, Console.silent())
    command = [PYTHON, "-c", THEIRS, str(tmp_path / "q"), str(tmp_path / "theirs.pt")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    theirs = torch.load(tmp_path / "theirs.pt")
    ours = packed_linears(load_model(tmp_path / "q"))
    assert ours.keys() == theirs.keys()
    for name, linear in ours.items():
        assert torch.equal(linear.dequantize(), theirs[name])


@pytest.mark.parametrize("case", [CASES[2], CASES[5], CASES[7]], ids=lambda case: case.name)
def test_what_we_quantize_runs_as_its_dequantized_weights(tmp_path, tiny_tokenizer, case):
    dense = make_tiny_llama(tmp_path / "dense", tiny_tokenizer)
    spec = QuantizeSpec(
        model=str(dense),
        output=str(tmp_path / "q"),
        method="hqq",
        bits=case.bits,
        axis=case.axis,
        group_size=case.group_size,
        compute_dtype=case.compute,
        view_as_float=case.view_as_float,
    )
    execute(spec, Console.silent())
    model = load_model(tmp_path / "q", dtype=torch.float32)
    plain = load_model(dense)
    for name, linear in packed_linears(model).items():
        plain.get_parameter(f"{name}.weight").data = linear.dequantize()
    # What says only how a weight was made is not there in older files.
    late = ("optimize", "round_zero", "encoded_state_dict", "stores_quant_config", "compute_dtype")
    tensors = open_tensors(tmp_path / "q")
    older = {name: tensors[name] for name in tensors if not name.endswith(late)}
    for path in (tmp_path / "q").glob("model*"):
        path.unlink()
    save_file(older, tmp_path / "q" / "model.safetensors", {"format": "pt"})
    config = json.loads((tmp_path / "q" / "config.json").read_text())["quantization_config"]
    count, known = count_parameters(open_tensors(tmp_path / "q").infos(), config)
    assert known and count == sum(p.numel() for p in plain.parameters())
    back = tmp_path / "back"
    execute(
        DequantizeSpec(model=str(tmp_path / "q"), output=str(back), dtype="float32"),
        Console.silent(),
    )
    dense_again = load_model(back)
    for name, linear in packed_linears(model).items():
        assert torch.equal(dense_again.get_parameter(f"{name}.weight"), linear.dequantize())
    ids = torch.arange(20)[None]
    with torch.no_grad():
        expected = plain(input_ids=ids).logits
        torch.testing.assert_close(model(input_ids=ids).logits, expected)
        torch.testing.assert_close(
            load_model(tmp_path / "q", dtype=torch.float32)(input_ids=ids).logits, expected
        )
