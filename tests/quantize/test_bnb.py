"""What bitsandbytes and transformers write and read, beside ours."""

from __future__ import annotations

import json

import pytest
import torch

from tests.quantize.test_run import GPT2, LLAMA, quantize, write_checkpoint
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.dequantize.run import run as dequantize
from tfcli.dequantize.spec import DequantizeSpec
from tfcli.errors import ModelError, WorkError
from tfcli.inspect.count import count_parameters
from tfcli.models.layers import bnb_kernel, llm_int8
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.layouts.bitsandbytes_4bit import FourBits
from tfcli.models.layouts.bitsandbytes_8bit import EightBits
from tfcli.models.layouts.packing import buffer_of
from tfcli.models.quantized import packed_linears
from tfcli.quantize.solvers.bnb import quantize_4bit, quantize_8bit
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.job import Job

bnb = pytest.importorskip("bitsandbytes")
MODEL = LLAMA | {"intermediate_size": 128}  # whole blocks, which bitsandbytes wants to run it
SHAPES = [(1, 1), (1, 2), (7, 9), (3, 64), (33, 50), (64, 64), (5, 1000), (256, 300)]


def weight_of(shape, dtype, seed=0):
    weight = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.05
    weight[0] = 0  # a block, or a row, of zeros
    if len(weight) > 1:
        weight[1, 0] = 3
    return weight.to(dtype)


def their_parts(weight, **options):
    packed, state = bnb.functional.quantize_4bit(weight, **options)
    rest = {f"weight.{name}": part for name, part in state.as_dict(packed=True).items()}
    return {"weight": packed, **rest}, packed, state


def text(part):
    return bytes(part.tolist()).decode()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("nested", [False, True], ids=["", "nested"])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_four_bits_are_those_of_bitsandbytes(kind, nested, dtype):
    for shape in SHAPES:
        for size in (32, 64, 4096):
            weight = weight_of(shape, dtype)
            theirs, packed, state = their_parts(
                weight, blocksize=size, quant_type=kind, compress_statistics=nested
            )
            values = quantize_4bit(weight, kind, size, nested=nested)
            packing = FourBits(kind, nested, size)
            ours = packing.pack(values)
            assert ours.keys() == theirs.keys()
            for name, part in theirs.items():
                if name == packing.state:
                    assert json.loads(text(ours[name])) == json.loads(text(part))
                else:
                    assert ours[name].dtype == part.dtype
                    assert torch.equal(ours[name], part), (name, shape, size)
            back = bnb.functional.dequantize_4bit(packed, state).view(shape)
            assert torch.equal(packing.unpack(ours).dequantize(dtype), back)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_eight_bits_are_those_of_bitsandbytes(dtype):
    for shape in SHAPES:
        weight = weight_of(shape, dtype)
        levels, largest, _ = bnb.functional.int8_vectorwise_quant(weight.half())
        ours = quantize_8bit(weight)
        assert torch.equal(ours.levels, levels) and torch.equal(ours.largest, largest)
        back = bnb.functional.int8_vectorwise_dequant(levels, largest)
        assert torch.equal(ours.dequantize(), back)


@pytest.mark.parametrize("storage", ["int8", "bfloat16", "float32"])
def test_bytes_are_called_by_another_type_as_bitsandbytes_does(storage):
    weight = weight_of((16, 64), torch.float32)
    dtype = getattr(torch, storage)
    theirs, *_ = their_parts(weight, quant_type="nf4", quant_storage=dtype)
    ours = FourBits(storage=storage).pack(quantize_4bit(weight, "nf4", 64, nested=False))
    assert ours["weight"].dtype == dtype and ours["weight"].shape == theirs["weight"].shape
    assert torch.equal(ours["weight"].view(torch.uint8), theirs["weight"].view(torch.uint8))


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("threshold", [0.0, 1.5])
def test_llm_int8_multiplies_as_bitsandbytes_does(rows, threshold):
    weight = weight_of((24, 3000), torch.float32)
    x = torch.randn(rows, 3000, generator=torch.Generator().manual_seed(1))
    x[0, 7] = 9
    held = quantize_8bit(weight)
    bias = torch.randn(24)
    state = bnb.MatmulLtState()
    state.is_training = False
    state.CB, state.SCB, state.has_fp16_weights = held.levels, held.largest, False
    theirs = bnb.matmul(x, held.levels, state=state, threshold=threshold, bias=bias)
    ours = llm_int8.product(x, held.levels, held.largest, threshold, bias)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    plain = x @ weight.t() + bias
    assert 0 < (ours - plain).norm() / plain.norm() < 0.1


@pytest.mark.parametrize("threshold", [0.0, 1.5])
def test_rounded_inputs_give_the_same_product_in_a_dense_layer(threshold):
    """In float32, which holds them; gradients pass inputs as they are."""
    torch.manual_seed(0)
    x, values = torch.randn(5, 64), quantize_8bit(weight_of((33, 64), torch.float32))
    inputs = EightBits(threshold).inputs
    parts = EightBits(threshold).pack(values)
    dense = inputs.round(x) @ values.dequantize().t()
    torch.testing.assert_close(inputs.product(x, parts, None), dense, rtol=1e-3, atol=1e-3)
    assert (dense - x @ values.dequantize().t()).abs().max() > 2e-3
    leaf = x.clone().requires_grad_()
    assert inputs.round(leaf) is leaf
    assert inputs.product(leaf, parts, None) is None


def test_whole_numbers_are_multiplied_exactly_by_either_way(monkeypatch):
    x = torch.full((3, 5000), -127, dtype=torch.int8)
    levels = torch.full((2, 5000), 127, dtype=torch.int8)
    levels[:, -1] = 126
    wanted = torch.full((3, 2), -127 * (127 * 4999 + 126), dtype=torch.int32)
    assert torch.equal(llm_int8.multiply(x, levels), wanted)
    monkeypatch.setattr(llm_int8.processor, "features", frozenset)
    assert torch.equal(llm_int8.multiply(x, levels), wanted)


METHODS = {
    "nf4": {},
    "fp4-nested": {"quant_type": "fp4", "double_quant": True, "group_size": 32},
    "nf4-blocks": {"overrides": [r"\.1\.mlp=4bit:32"]},
    "nf4-bf16": {"storage_dtype": "bfloat16", "compute_dtype": "bfloat16"},
    "int8": {"bits": 8},
    "int8-outliers": {"bits": 8, "threshold": 0.5},
}
every_method = pytest.mark.parametrize("options", METHODS.values(), ids=METHODS)


def quantized(tmp_path, config, options):
    dense = write_checkpoint(tmp_path / "dense", config)
    quantize(dense, tmp_path / "q", **{"method": "bnb", "group_size": None} | options)
    return dense, tmp_path / "q"


@pytest.mark.parametrize("config", [MODEL, GPT2], ids=["llama", "gpt2"])
@every_method
def test_a_quantized_folder_runs_as_its_dequantized_weights(tmp_path, config, options):
    dense, out = quantized(tmp_path, config, options)
    packed, plain = load_model(out), load_model(dense)
    layers = packed_linears(packed)
    assert len(layers) == 8 if config is GPT2 else 14
    for name, layer in layers.items():
        plain.get_parameter(f"{name}.weight").data = layer.dequantize()
    ids = torch.arange(24)[None]
    with torch.no_grad():
        ours, theirs = packed(input_ids=ids).logits, plain(input_ids=ids).logits
    if options.get("bits") == 8:  # inputs are rounded too, for which gradients are not
        error = (ours - theirs).norm() / theirs.norm()
        assert error < 0.1 and (error > 0 or "threshold" in options)  # where all is an outlier, 0
    else:
        torch.testing.assert_close(ours, theirs)


def test_blocks_can_differ_as_each_weight_says_its_own(tmp_path):
    _, out = quantized(tmp_path, MODEL, METHODS["nf4-blocks"])
    layers = packed_linears(load_model(out))
    sizes = {
        name: layer.in_features * layer.out_features // layer.parts["weight.absmax"].numel()
        for name, layer in layers.items()
    }
    assert sizes["model.layers.0.mlp.up_proj"] == 64
    assert sizes["model.layers.1.mlp.up_proj"] == 32
    assert sorted(sizes.values()).count(32) == 3


def test_dequantize_and_inspect_read_it(tmp_path):
    for name in ("fp4-nested", "int8"):
        dense, out = quantized(tmp_path / name, MODEL, METHODS[name])
        target = tmp_path / name / "back"
        target.mkdir()
        spec = DequantizeSpec(model=str(out), output=str(target), dtype="float32")
        dequantize(spec, Job(Console.silent(), target))
        back, packed = load_model(target), load_model(out)
        for linear, layer in packed_linears(packed).items():
            assert torch.equal(back.get_parameter(f"{linear}.weight"), layer.dequantize())
        config = json.loads((out / "config.json").read_text())["quantization_config"]
        count, known = count_parameters(open_tensors(out).infos(), config)
        assert known and count == sum(p.numel() for p in load_model(dense).parameters())


@pytest.mark.skipif(not bnb_kernel.is_fast(), reason="no bf16 instructions of AVX-512")
def test_the_kernel_leaves_what_is_saved_as_it_is(tmp_path):
    _, out = quantized(tmp_path, MODEL, METHODS["fp4-nested"])
    model = load_model(out, dtype=torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        few = model(input_ids=torch.arange(4)[None]).logits
        many = model(input_ids=torch.arange(24)[None]).logits[:, :4]
    assert any(layer._bnb is not None for layer in packed_linears(model).values())
    assert (few - many).float().norm() / many.float().norm() < 0.05
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    save_model(model, tmp_path / "again")
    held, again = open_tensors(out), open_tensors(tmp_path / "again")
    assert set(held) == set(again)
    for name in held:
        if ".weight." in name or "proj" in name:
            assert torch.equal(held[name], again[name])


def layer_with(packing, parts, shape):
    made = QuantizedLinear(shape[1], shape[0], packing, bias=False)
    for name, part in parts.items():
        setattr(made, buffer_of(name), part)
    return made


def changed(packing, parts, **said):
    state = json.loads(text(parts[packing.state])) | said
    return {packing.state: torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)}


def test_tensors_that_do_not_fit_are_refused_by_name():
    packing = FourBits("nf4", nested=True)
    weight = weight_of((32, 64), torch.float32)
    parts = packing.pack(quantize_4bit(weight, "nf4", 64, nested=True))
    layer_with(packing, parts, (32, 64)).verify("q_proj")
    no_json = torch.zeros(9, dtype=torch.uint8)
    for change, said in (
        ({packing.state: no_json}, "it is no JSON"),
        (changed(packing, parts, shape=[64, 32]), "is packed for 32 inputs"),
        (changed(packing, parts, shape=[32, -64]), "shape"),
        (changed(packing, parts, shape=[32, 128]), "bytes"),
        (changed(packing, parts, blocksize=63), "blocksize: 63"),
        (changed(packing, parts, blocksize=32), "blocks"),
        (changed(packing, parts, quant_type="af4"), "quant_type"),
        (changed(packing, parts, dtype="int3"), "dtype"),
        (changed(packing, parts, nested_offset=float("inf")), "nested_offset"),
        ({"weight.quant_map": parts["weight.quant_map"].flip(0)}, "table of nf4"),
        ({"weight.nested_absmax": parts["weight.nested_absmax"] * torch.nan}, "not finite"),
    ):
        with pytest.raises(ModelError) as error:
            layer_with(packing, parts | change, (32, 64)).verify("q_proj")
        assert said in str(error.value) and "q_proj" in str(error.value)
    eight = EightBits()
    rows = eight.pack(quantize_8bit(weight)) | {"weight_format": torch.tensor(2, dtype=torch.uint8)}
    with pytest.raises(ModelError, match="weight_format"):
        layer_with(eight, rows, (32, 64)).verify("q_proj")


def test_scales_of_other_blocks_give_another_weight():
    packing = FourBits()
    weight = weight_of((32, 64), torch.float32)
    parts = packing.pack(quantize_4bit(weight, "nf4", 64, nested=False))
    other = parts | {"weight.absmax": parts["weight.absmax"].flip(0)}
    error = (packing.unpack(other).dequantize() - weight).norm() / weight.norm()
    assert error > 0.2 > (packing.unpack(parts).dequantize() - weight).norm() / weight.norm()


def test_weights_that_fp16_does_not_hold_are_refused_for_8_bits(tmp_path):
    dense = write_checkpoint(tmp_path / "dense", MODEL)
    model = load_model(dense)
    model.get_parameter("model.layers.1.mlp.up_proj.weight").data[0, 0] = 1e6
    save_model(model, dense)
    with pytest.raises(WorkError, match=r"1e\+06.*fp16"):
        quantize(dense, tmp_path / "q", method="bnb", bits=8, group_size=None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bits": 3}, "bits: 3 is not there with method: bnb"),
        ({"bits": 8, "group_size": 64}, "group_size has no effect"),
        ({"bits": 8, "compute_dtype": "bfloat16"}, "compute_dtype has no effect"),
        ({"bits": 8, "quant_type": "nf4"}, "quant_type has no effect"),
        ({"threshold": 6.0}, "threshold has no effect"),
        ({"group_size": 16}, "group_size: 16"),
        ({"overrides": ["down_proj=8bit"]}, "the config of bitsandbytes says 4 or 8 bits for all"),
        ({"bits": 8, "overrides": ["q_proj=4bit"]}, "says 4 or 8 bits for all"),
        ({"overrides": ["down_proj=4bit:16"]}, "bnb has no such block"),
        ({"symmetric": True}, "symmetric has no effect"),
        ({"axis": 1}, "axis has no effect"),
        ({"method": "rtn", "bits": 1}, "bits: 1 is not there with method: rtn"),
        ({"method": "hqq", "double_quant": False}, "double_quant has no effect"),
    ],
)
def test_options_that_have_no_effect_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        QuantizeSpec(**{"model": "m", "output": "o", "method": "bnb"} | options)


@pytest.mark.interop
@pytest.mark.parametrize("config", [MODEL, GPT2], ids=["llama", "gpt2"])
@every_method
def test_transformers_runs_what_we_quantize(tmp_path, config, options):
    from transformers import AutoModelForCausalLM

    options = {key: value for key, value in options.items() if key != "compute_dtype"}
    _, out = quantized(tmp_path, config, options)
    theirs = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    assert_alike(theirs, load_model(out, dtype=torch.float32))


THEIRS = {
    "nf4-nested": {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
    },
    "fp4": {"load_in_4bit": True, "llm_int8_skip_modules": ["lm_head", "mlp.down_proj", "c_fc"]},
    "int8": {"load_in_8bit": True},
    "int8-outliers": {"load_in_8bit": True, "llm_int8_threshold": 0.5},
}


@pytest.mark.interop
@pytest.mark.parametrize("config", [MODEL, GPT2], ids=["llama", "gpt2"])
@pytest.mark.parametrize("options", THEIRS.values(), ids=THEIRS)
def test_we_run_what_transformers_quantizes(tmp_path, config, options):
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dense = write_checkpoint(tmp_path / "dense", config)
    theirs = AutoModelForCausalLM.from_pretrained(
        dense, dtype=torch.float32, quantization_config=BitsAndBytesConfig(**options)
    ).eval()
    theirs.save_pretrained(tmp_path / "q")
    assert_alike(theirs, load_model(tmp_path / "q"))


def assert_alike(theirs, ours):
    linears = [
        m for m in theirs.modules() if isinstance(m, bnb.nn.Linear4bit | bnb.nn.Linear8bitLt)
    ]
    assert len(linears) == len(packed_linears(ours)) > 0
    for linear in linears:  # or its kernel for bf16 would round fp32 inputs
        linear.support_avx512bf16_for_cpu = False
    ids = torch.arange(24)[None]
    with torch.no_grad():
        torch.testing.assert_close(
            ours(input_ids=ids).logits, theirs(ids).logits, rtol=1e-4, atol=1e-4
        )
