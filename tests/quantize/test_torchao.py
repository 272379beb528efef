"""What torchao writes and reads, beside ours: by its golden file, and by itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn.functional import linear as product

from tests.conftest import make_tiny_llama
from tests.quantize.golden.hqq_weights import SHAPE
from tests.quantize.golden.torchao_cases import CASES, GROUPS, ROWS, config, granularity, inputs
from tfcli.checkpoints.containers import open_ref
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.packed.linears import find_packed
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.dequantize.spec import DequantizeSpec
from tfcli.errors import WorkError
from tfcli.inspect.count import count_parameters
from tfcli.inspect.open import quantization_of
from tfcli.models.errors import ModelError
from tfcli.models.layers import int8_inputs
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.layouts.packing import buffer_of
from tfcli.models.layouts.torchao import TorchAOLayout
from tfcli.models.layouts.torchao_config import read_type, write_type
from tfcli.models.layouts.torchao_int4 import TorchAOInt4
from tfcli.models.layouts.torchao_parts import WrittenPacking
from tfcli.models.quantized import packed_linears
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.execute import execute

GOLDEN = Path(__file__).parent / "golden/torchao.safetensors"
HELD = load_file(GOLDEN)
PYTHON = Path(__file__).parents[2] / ".torchao/bin/python"
every_case = pytest.mark.parametrize("case", CASES)


def told(case: str) -> dict[str, object]:
    with safe_open(GOLDEN, "pt") as file:
        found: dict[str, object] = json.loads(file.metadata()[case])
    return found


def held(case: str) -> dict[str, torch.Tensor]:
    prefix = f"{case}._"
    return {n.removeprefix(f"{case}."): t for n, t in HELD.items() if n.startswith(prefix)}


def layer(case: str, parts: dict[str, torch.Tensor]) -> QuantizedLinear:
    packing = read_type("quant_type", CASES[case])
    made = QuantizedLinear(SHAPE[1], SHAPE[0], packing, bias=False)
    for name, part in parts.items():
        setattr(made, buffer_of(name), part)
    return made


@every_case
def test_we_read_the_weight_that_torchao_reads_and_write_it_as_torchao_did(case):
    parts = held(case)
    made = layer(case, parts)
    made.verify()
    assert torch.equal(made.dequantize(), HELD[f"{case}.weight"])
    if made.packing != TorchAOLayout.packing_for(made.packing.format):
        return  # only read
    again = made.packing.pack(made.values)
    assert again.keys() == parts.keys()
    for name, part in again.items():
        assert part.dtype == parts[name].dtype
        assert torch.equal(part.view(torch.uint8), parts[name].view(torch.uint8)), name


@every_case
def test_the_product_is_that_of_torchao_with_rounded_inputs_too(case):
    made = layer(case, held(case))
    theirs = HELD[f"{case}.output"]
    torch.testing.assert_close(made(inputs()), theirs, rtol=1e-5, atol=1e-5)
    dense = product(inputs(), made.dequantize())
    if "inputs" in case:
        assert (dense - theirs).abs().max() > 1e-4
    else:
        torch.testing.assert_close(dense, theirs)
    assert int8_inputs.fits(made.packing) == (case in ("int8-inputs", "int8-inputs-all"))


@every_case
def test_what_is_written_of_a_weight_is_what_torchao_writes(case):
    packing = read_type("quant_type", CASES[case])
    if TorchAOLayout.refusal(packing.format) or packing != TorchAOLayout.packing_for(
        packing.format
    ):
        assert case in [
            "int8-all",
            "int8-inputs-all",
            "int8-inputs-asymmetric",
            "int4-inputs",
            "float8-groups",
        ], "it is only read"
        return
    assert isinstance(packing, WrittenPacking)
    ours, theirs = packing.told(SHAPE[1], SHAPE[0], "float32"), told(case)
    names = "_tensor_data_names"
    assert sorted(ours.pop(names)) == sorted(theirs.pop(names))
    assert ours == theirs
    assert read_type("quant_type", write_type(packing)) == packing


def test_scales_of_other_rows_and_groups_give_another_weight():
    for case in ("int8-rows", "int8-groups", "float8-rows", "int4-groups"):
        parts = held(case)
        flipped = layer(case, parts | {"_weight_scale": parts["_weight_scale"].flip(0)})
        assert not torch.allclose(flipped.dequantize(), HELD[f"{case}.weight"])


def int4(levels: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor) -> QuantizedLinear:
    """A linear of Int4Tensor, packed as its source says: low half first."""
    packed = levels[:, 1::2] << 4 | levels[:, ::2] & 0xF
    made = QuantizedLinear(SHAPE[1], SHAPE[0], TorchAOInt4(None, 8), bias=False)
    for name, part in (("qdata", packed), ("scale", scales.T), ("zero_point", zeros.T)):
        setattr(made, f"_weight_{name}", part.contiguous())
    return made


def test_four_bits_of_the_plain_packing_are_read():
    levels = (torch.arange(SHAPE[0] * SHAPE[1]) * 7 % 16 - 8).to(torch.int8).view(SHAPE)
    scales = torch.linspace(0.25, 2, SHAPE[0] * 4).view(SHAPE[0], 4).bfloat16()
    zeros = torch.linspace(-1, 3, SHAPE[0] * 4).view(SHAPE[0], 4).bfloat16()
    wide = (each.float().repeat_interleave(8, 1) for each in (scales, zeros))
    scale, zero = wide
    made = int4(levels, scales, zeros)
    made.verify()
    assert torch.equal(made.dequantize(), levels * scale + zero)
    symmetric = int4(levels, scales, zeros * 0)
    assert torch.equal(symmetric.dequantize(), levels * scale)
    assert symmetric.values.bits == 4  # levels that other layouts have


@pytest.mark.parametrize(
    ("case", "part", "change", "said"),
    [
        ("int4-groups", "_weight_qdata", lambda part: part * 3, "more than 4 bits"),
        ("int3-rows-asymmetric", "_weight_zero_point", lambda part: part + 9, "more than 3 bits"),
        ("int8-rows", "_weight_zero_point", lambda part: part + 1, "symmetric"),
        ("int8-rows", "_weight_scale", lambda part: part * float("nan"), "not finite"),
        (
            "float8-rows",
            "_weight_qdata",
            lambda part: (part.float() * float("nan")).to(part.dtype),
            "NaN",
        ),
    ],
)
def test_numbers_that_the_config_does_not_allow_are_refused(case, part, change, said):
    parts = held(case)
    with pytest.raises(ModelError, match=said):
        layer(case, parts | {part: change(parts[part])}).verify("q_proj")


WRITTEN = [
    {"method": "rtn", "bits": 8, "group_size": -1},
    {"method": "rtn", "bits": 8, "group_size": 32},
    {"method": "rtn", "bits": 4, "group_size": 32, "symmetric": False},
    {"method": "rtn", "bits": 8, "group_size": -1, "round_inputs": True},
    {"method": "rtn", "bits": 8, "group_size": -1, "overrides": [r"layers\.0\.=4bit:32"]},
    {"method": "fp8"},
    {"method": "fp8", "scales": "tensor"},
]
"""What `tfcli quantize --layout torchao` may be asked for."""


def quantized(folder: Path, tokenizer: object, options: dict[str, object]) -> Path:
    dense = make_tiny_llama(folder / "dense", tokenizer)
    spec = QuantizeSpec(model=str(dense), output=str(folder / "q"), layout="torchao", **options)
    execute(spec, Console.silent())
    return folder / "q"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"qdata": (0, 64), "scale": (0, 1), "zero_point": (0, 1)}, "no packed matrix"),
        ({"qdata": (64, 0), "scale": (64, 1), "zero_point": (64, 1)}, "no packed matrix"),
        ({"qdata": (64, 64, 1)}, "no packed matrix"),
        ({"scale": (64, 2)}, "by the config it is"),
        ({"scale": None}, "is missing"),
        ({"zero_point": (1, 1)}, "by the config it is"),
    ],
)
def test_tensors_that_do_not_fit_each_other_are_refused(tmp_path, tiny_tokenizer, change, said):
    folder = quantized(tmp_path, tiny_tokenizer, WRITTEN[0])
    name = "model.layers.0.self_attn.q_proj._weight_"
    path = next(p for p in folder.glob("*.safetensors") if f"{name}qdata" in load_file(p))
    tensors = load_file(path)
    for part, shape in change.items():
        held = tensors.pop(f"{name}{part}")
        if shape is not None:
            tensors[f"{name}{part}"] = torch.ones(shape).to(held.dtype)
    save_file(tensors, path, {"format": "pt"})
    if change.get("scale", ()) is None:
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        index["weight_map"].pop(f"{name}scale")
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises((WorkError, ModelError), match=said):
        find_packed(open_ref(str(folder)))


@pytest.mark.parametrize(
    ("quant_type", "said"),
    [
        ("int8_weight_only", "'int8_weight_only' is no config that transformers 5 writes"),
        ({"default": "int8_weight_only"}, "no config that torchao wrote"),
        ({"default": {"_type": "MXFPInferenceConfig", "_data": {}}}, "MXFPInferenceConfig"),
        ({"default": CASES["int8-rows"] | {"_version": 1}}, "version 1"),
        ({"default": config("Int8WeightOnlyConfig", granularity=granularity("PerBlock"))}, "Block"),
        (
            {
                "default": config(
                    "Int8WeightOnlyConfig", granularity=granularity("PerGroup", group_size=0)
                )
            },
            "group_size: 0",
        ),
        (
            {
                "default": config(
                    "Int4WeightOnlyConfig",
                    int4_packing_format={
                        "_type": "Int4PackingFormat",
                        "_data": "TILE_PACKED_TO_4D",
                    },
                )
            },
            "'TILE_PACKED_TO_4D' puts levels into the order of one kind of GPU",
        ),
        (
            {"default": config("Int8DynamicActivationInt8WeightConfig", granularity=GROUPS)},
            "PerGroup",
        ),
        (
            {"default": config("Float8DynamicActivationFloat8WeightConfig", activation_value_ub=3)},
            "activation_value_ub",
        ),
        ({"default": config("FqnToConfig", fqn_to_config={"re:(": None})}, "bad pattern"),
        ({"default": config("FqnToConfig", fqn_to_config={"q_proj": None})}, "nothing"),
        ({"default": config("FqnToConfig", fqn_to_config=[1])}, "not a mapping"),
    ],
)
def test_configs_that_are_not_supported_are_named(quant_type, said):
    with pytest.raises(ModelError) as caught:
        TorchAOLayout.from_config({"quant_type": quant_type})
    assert said in str(caught.value)


def test_a_config_names_linears_as_torchao_does():
    named = {
        "re:.*down_proj": None,
        "model.layers.0.q_proj": CASES["int4-groups"],
        "re:model\\.layers\\.1\\..*\\.weight": CASES["float8-rows"],
        "_default": config("Int8WeightOnlyConfig", granularity=ROWS),
    }
    held = config("FqnToConfig", fqn_to_config=named)
    layout = TorchAOLayout.from_config(
        {"quant_type": {"default": held}, "modules_to_not_convert": ["lm_head"]}
    )
    read = {
        "model.layers.0.q_proj": "int4-groups",
        "model.layers.1.q_proj": "float8-rows",
        "model.layers.0.k_proj": "int8-rows",
    }
    for name, case in read.items():
        assert layout.packing_of(name) == read_type("quant_type", CASES[case])
    for name in ("model.layers.1.down_proj", "lm_head"):
        assert layout.packing_of(name) is None
    again = TorchAOLayout.from_config(TorchAOLayout(None, layout.by_name, ("a",)).to_config())
    assert (again.by_name, again.packing, again.skip) == (layout.by_name, None, ("a",))


def said_of(folder: Path) -> dict[str, str]:
    """The texts of the headers, which are alike in all files."""
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found.append(file.metadata())
    assert all(texts == found[0] for texts in found)
    return found[0]


@pytest.mark.parametrize("options", [WRITTEN[0], WRITTEN[4], WRITTEN[5]], ids=str)
def test_what_we_quantize_runs_as_its_dequantized_weights(tmp_path, tiny_tokenizer, options):
    folder = quantized(tmp_path, tiny_tokenizer, options)
    model = load_model(folder, dtype=torch.float32)
    plain = load_model(tmp_path / "dense", dtype=torch.float32)
    packed = packed_linears(model)
    for name, linear in packed.items():
        plain.get_parameter(f"{name}.weight").data = linear.dequantize()
    texts = said_of(folder)
    tensors = open_tensors(folder)
    written = {n: json.loads(texts[n])["_type"] for n in json.loads(texts["tensor_names"])}
    assert {n.removesuffix(".weight") for n, t in written.items() if t != "Tensor"} == set(packed)
    assert {n for n, t in written.items() if t == "Tensor"} == {n for n in tensors if "._" not in n}
    settings = json.loads((folder / "config.json").read_text())["quantization_config"]
    count, known = count_parameters(tensors.infos(), settings)
    assert known and count == sum(p.numel() for p in plain.parameters())
    back = tmp_path / "back"
    execute(DequantizeSpec(model=str(folder), output=str(back), dtype="float32"), Console.silent())
    assert said_of(back) == {"format": "pt"}
    again = load_model(back)
    for name, linear in packed.items():
        assert torch.equal(again.get_parameter(f"{name}.weight"), linear.dequantize())
    ids = torch.arange(20)[None]
    with torch.no_grad():
        expected = plain(input_ids=ids).logits
        torch.testing.assert_close(model(input_ids=ids).logits, expected)


def test_weights_move_to_torchao_and_back_without_loss(tmp_path, tiny_tokenizer):
    options = {"method": "rtn", "bits": 4, "group_size": 32}
    dense = make_tiny_llama(tmp_path / "dense", tiny_tokenizer)
    first = tmp_path / "gptq"
    execute(QuantizeSpec(model=str(dense), output=str(first), **options), Console.silent())
    for source, target in (("gptq", "torchao"), ("torchao", "compressed-tensors")):
        spec = ConvertSpec(
            source=str(tmp_path / source), output=str(tmp_path / target), to_layout=target
        )
        execute(spec, Console.silent())
    ours = packed_linears(load_model(tmp_path / "torchao"))
    for name, linear in packed_linears(load_model(first)).items():
        assert torch.equal(linear.dequantize(), ours[name].dequantize())
    assert "IntxUnpackedToInt8Tensor" in str(said_of(tmp_path / "torchao"))
    assert said_of(tmp_path / "compressed-tensors").keys() == {"format"}


def test_texts_of_headers_go_along_with_packed_tensors_alone(tmp_path, tiny_tokenizer):
    folder = quantized(tmp_path, tiny_tokenizer, WRITTEN[0])
    for name, options in (("copy", {}), ("wide", {"dtype": "float32"})):
        spec = ConvertSpec(source=str(folder), output=str(tmp_path / name), **options)
        execute(spec, Console.silent())
    assert said_of(tmp_path / "copy") == said_of(folder)
    assert said_of(tmp_path / "wide") == {"format": "pt"}
    again = packed_linears(load_model(tmp_path / "copy"))
    for name, linear in packed_linears(load_model(folder)).items():
        assert torch.equal(again[name].dequantize(), linear.dequantize())


def test_packed_tables_of_embeddings_are_read_dense(tmp_path, tiny_tokenizer):
    folder = quantized(tmp_path, tiny_tokenizer, WRITTEN[0])
    name = "model.embed_tokens.weight"
    (path,) = (p for p in folder.glob("*.safetensors") if name in load_file(p))
    tensors = load_file(path)
    table = tensors.pop("model.embed_tokens.weight")
    levels = (table * 100).round().clamp(-128, 127)
    tensors["model.embed_tokens._weight_qdata"] = levels.to(torch.int8)
    tensors["model.embed_tokens._weight_scale"] = torch.full((len(table), 1), 0.01)
    save_file(tensors, path, {"format": "pt"})
    index = folder / "model.safetensors.index.json"
    held = json.loads(index.read_text())
    held["weight_map"].pop("model.embed_tokens.weight")
    held["weight_map"] |= dict.fromkeys((n for n in tensors if "embed" in n), path.name)
    index.write_text(json.dumps(held))
    settings = json.loads((folder / "config.json").read_text())
    settings["quantization_config"]["include_input_output_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(settings))
    model = load_model(folder, dtype=torch.float32)
    assert not packed_linears(model)
    expected = (levels * 0.01).bfloat16().float()
    assert torch.equal(model.get_parameter("model.embed_tokens.weight"), expected)


def test_the_config_tells_bits_and_groups():
    found = {
        case: quantization_of(
            {"quantization_config": {"quant_method": "torchao", "quant_type": {"default": said}}}
        )
        for case, said in CASES.items()
    }
    assert all(each is not None and each.method == "torchao" for each in found.values())
    widths = {case: (each.bits, each.group_size) for case, each in found.items() if each}
    assert widths["int8-rows"] == widths["float8-rows"] == (8, -1)
    assert widths["int4-groups"] == widths["int4-inputs"] == (4, 8)
    assert widths["int3-rows-asymmetric"] == (3, -1)
    assert widths["float8-all"] == (8, None)


class Pickled:
    """What a pickle has in the place of a tensor of torchao."""

    def __reduce__(self):
        like = (torch.Tensor, torch.float32, (4, 4), (4, 1), 0, "strided", "cpu", False)
        return torch._utils._rebuild_wrapper_subclass, like


def test_pickled_tensors_of_a_class_are_refused_with_the_way_out(tmp_path, tiny_tokenizer):
    folder = make_tiny_llama(tmp_path / "dense", tiny_tokenizer)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    torch.save({"lm_head.weight": Pickled()}, folder / "pytorch_model.bin")
    with pytest.raises(WorkError, match="never run") as caught:
        load_model(folder)
    assert "safetensors" in str(caught.value.fix) and "transformers 5" in str(caught.value.fix)


THEIRS = """
import sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
read = {
    name: weight.dequantize().contiguous()
    for name, weight in model.state_dict().items()
    if type(weight) is not torch.Tensor
}
with torch.no_grad():
    read["logits"] = model(torch.arange(20)[None]).logits
torch.save(read, sys.argv[2])
"""

WRITES = """
import json, sys, torch
from transformers import AutoModelForCausalLM, TorchAoConfig
from torchao.core.config import config_from_dict
held = config_from_dict(json.loads(sys.argv[3]))
quantization = TorchAoConfig(held)
model = AutoModelForCausalLM.from_pretrained(
    sys.argv[1], quantization_config=quantization, dtype=torch.float32
)
model.save_pretrained(sys.argv[2], max_shard_size="100KB")
"""

interop = pytest.mark.interop
has_torchao = pytest.mark.skipif(not PYTHON.exists(), reason="scripts/torchao makes it")


def in_torchao(script: str, *arguments: Path | str) -> None:
    ran = subprocess.run([PYTHON, "-c", script, *arguments], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]


def require_near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Rounded inputs fall to another level here and there; the golden file has products alone."""
    assert (ours - theirs).norm() < 0.03 * theirs.norm()


@interop
@has_torchao
@pytest.mark.parametrize("options", WRITTEN, ids=str)
def test_transformers_reads_what_we_quantize(tmp_path, tiny_tokenizer, options):
    folder = quantized(tmp_path, tiny_tokenizer, options)
    in_torchao(THEIRS, folder, tmp_path / "theirs.pt")
    theirs = torch.load(tmp_path / "theirs.pt")
    model = load_model(folder, dtype=torch.float32)
    with torch.no_grad():
        logits = model(input_ids=torch.arange(20)[None]).logits
    require_near(logits, theirs.pop("logits"))
    ours = packed_linears(model)
    assert {f"{name}.weight" for name in ours} == theirs.keys()
    for name, linear in ours.items():
        assert torch.equal(linear.dequantize(), theirs[f"{name}.weight"])


@interop
@has_torchao
@pytest.mark.parametrize("case", ["int8-rows", "int4-inputs", "float8-groups", "int8-inputs"])
def test_we_read_what_transformers_writes(tmp_path, tiny_tokenizer, case):
    dense = make_tiny_llama(tmp_path / "dense", tiny_tokenizer)
    in_torchao(WRITES, dense, tmp_path / "q", json.dumps(CASES[case]))
    in_torchao(THEIRS, tmp_path / "q", tmp_path / "theirs.pt")
    theirs = torch.load(tmp_path / "theirs.pt")
    model = load_model(tmp_path / "q", dtype=torch.float32)
    with torch.no_grad():
        logits = model(input_ids=torch.arange(20)[None]).logits
    require_near(logits, theirs.pop("logits"))
    ours = packed_linears(model)
    assert {f"{name}.weight" for name in ours} == theirs.keys()
    for name, linear in ours.items():
        assert torch.equal(linear.dequantize(), theirs[f"{name}.weight"])
