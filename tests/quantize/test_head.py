"""`tfcli quantize --head`: the output head is packed too, wherever readers take a packed one."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from tests.models.tiny import settings, tiny_model, whole
from tests.quantize.test_run import (
    GPT2,
    LLAMA,
    dense,
    gptq_options,
    quantize,
    text,
    write_checkpoint,
)
from tests.quantize.watching import Watching, steps
from tfcli.checkpoints.folder import load_model, open_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.dequantize.spec import DequantizeSpec
from tfcli.errors import Problem, UsageError
from tfcli.inspect.spec import InspectSpec
from tfcli.models.layers.kernel_linear import KernelLinear
from tfcli.models.quantized import packed_linears
from tfcli.models.walks import linears_of
from tfcli.quantize.run import run
from tfcli.quantize.solvers.bnb import quantize_4bit, quantize_8bit
from tfcli.quantize.solvers.grid import GridOptions
from tfcli.quantize.solvers.rtn import round_to_nearest
from tfcli.quantize.spec import QuantizeSpec
from tfcli.quantize.text import inputs_of
from tfcli.ready import load_ready
from tfcli.recipe.execute import execute
from tfcli.recipe.job import Job

__all__ = ["dense", "text"]

HEAD = "lm_head"
WIDE = LLAMA | {"intermediate_size": 128}  # whole blocks, which bitsandbytes wants to run it
TIED = WIDE | {"tie_word_embeddings": True}
BNB = {"method": "bnb", "group_size": None}
WAYS = {
    "gptq": {"head": "8bit"},
    "gptq-asym": {"head": "3bit:16", "symmetric": False},
    "compressed-tensors": {"head": "8bit", "layout": "compressed-tensors"},
    "compressed-tensors-same": {"head": "4bit", "layout": "compressed-tensors"},
    "torchao": {"head": "8bit:-1", "layout": "torchao"},
    "hqq": {"head": "8bit:16", "method": "hqq"},
    "bnb-4bit": BNB | {"head": "4bit:32"},
    "bnb-8bit": BNB | {"head": "8bit", "bits": 8},
}
every_way = pytest.mark.parametrize("way", WAYS)


def made(folder, way, config=WIDE, **options):
    """A dense checkpoint and what is quantized from it."""
    source = write_checkpoint(folder / "dense", config)
    return source, quantize(source, folder / "q", **WAYS[way] | options)


def outcome(result):
    return next(one for one in result.tensors if one.name == f"{HEAD}.weight")


def logits(model, count=24):
    with torch.no_grad():
        return model(input_ids=torch.arange(count)[None]).logits


def rounded(weight, way):
    """The head by the solvers of other tests, without a walk, a plan or a file."""
    if way == "bnb-4bit":
        return quantize_4bit(weight, "nf4", 32, nested=False).dequantize()
    if way == "bnb-8bit":
        return quantize_8bit(weight).dequantize()
    grids = {
        "gptq": GridOptions(8, 32),
        "gptq-asym": GridOptions(3, 16, symmetric=False),
        "compressed-tensors": GridOptions(8, 32),
        "compressed-tensors-same": GridOptions(4, 32),
        "torchao": GridOptions(8, -1),
    }
    return round_to_nearest(weight, grids[way]).dequantize()


@every_way
def test_the_head_is_packed_as_the_word_says_and_gives_those_logits(tmp_path, way):
    source, result = made(tmp_path, way)
    packed, plain = load_model(tmp_path / "q"), load_model(source)
    layers = packed_linears(packed)
    assert set(layers) == {*linears_of(plain), HEAD} and len(layers) == result.quantized
    weight = plain.get_parameter(f"{HEAD}.weight")
    found = layers[HEAD].dequantize()
    if way != "hqq":
        assert torch.equal(found, rounded(weight.detach(), way))
    word = WAYS[way]["head"]
    assert outcome(result).bits == int(word[0])
    error = (found - weight).square().sum() / weight.square().sum()
    assert outcome(result).weight_error == pytest.approx(error.item(), rel=1e-4)
    assert error < {"8": 1e-4, "4": 0.02, "3": 0.05}[word[0]]
    for name, layer in layers.items():
        plain.get_parameter(f"{name}.weight").data = layer.dequantize()
    if way != "bnb-8bit":  # whose inputs are rounded too
        torch.testing.assert_close(logits(packed), logits(plain))
    names = [path.name for path in sorted((tmp_path / "q").glob("*.safetensors"))]
    assert all(name.startswith(f"{HEAD}.") for name in open_tensors(tmp_path / "q" / names[-1]))


@every_way
def test_dequantize_and_inspect_read_it(tmp_path, way):
    source, _ = made(tmp_path, way, TIED)
    spec = DequantizeSpec(source=str(tmp_path / "q"), output=str(tmp_path / "d"), dtype="float32")
    execute(spec, Console.silent())
    found = open_tensors(tmp_path / "d")
    for name, layer in packed_linears(load_model(tmp_path / "q")).items():
        assert torch.equal(found[f"{name}.weight"], layer.dequantize()), name
    assert set(found) == {*open_tensors(source), f"{HEAD}.weight"}
    assert not load_model(tmp_path / "d").config.tie_word_embeddings
    packed, plain = (
        execute(InspectSpec(path=str(path)), Console.silent()).result
        for path in (tmp_path / "q", source)
    )
    assert packed.parameters == plain.parameters + WIDE["vocab_size"] * WIDE["hidden_size"]


@every_way
def test_a_tied_head_becomes_a_matrix_of_its_own(tmp_path, way, capsys):
    source = write_checkpoint(tmp_path / "dense", TIED)
    (tmp_path / "q").mkdir()
    options = {"method": "rtn", "group_size": 32} | WAYS[way]
    spec = QuantizeSpec(model=str(source), output=str(tmp_path / "q"), **options)
    result = run(spec, Job(Console(), tmp_path / "q"))
    said = capsys.readouterr().err
    assert "lm_head shares model.embed_tokens.weight" in said
    assert "tie_word_embeddings: false" in said
    assert said.count("more, and the config says") == 1
    table = open_tensors(source)["model.embed_tokens.weight"]
    written = open_tensors(tmp_path / "q")
    assert torch.equal(written["model.embed_tokens.weight"], table)
    assert json.loads((tmp_path / "q/config.json").read_text())["tie_word_embeddings"] is False
    kept = next(one for one in result.tensors if one.name == "model.embed_tokens.weight")
    assert (kept.outcome, kept.bytes) == ("kept", table.nbytes)
    assert outcome(result).reason == "apart from model.embed_tokens.weight, which it was tied to"
    head = [name for name in written if name.startswith(f"{HEAD}.")]
    assert outcome(result).bytes == sum(written[name].nbytes for name in head)
    assert result.bytes_after == written.nbytes
    model = load_model(tmp_path / "q")
    assert torch.equal(model.get_parameter("model.embed_tokens.weight"), table)
    error = (packed_linears(model)[HEAD].dequantize() - table).norm() / table.norm()
    assert 0 < error < 0.2


def test_without_the_key_the_head_stays_tied_and_dense(tmp_path):
    source = write_checkpoint(tmp_path / "dense", TIED)
    result = quantize(source, tmp_path / "q")
    assert result.quantized == 14 and f"{HEAD}.weight" not in {one.name for one in result.tensors}
    model = load_model(tmp_path / "q")
    assert model.lm_head.weight is model.model.embed_tokens.weight


CONFIGS = {
    "gptq": {"lm_head": True, "dynamic": {"+:^lm_head$": {"bits": 8, "group_size": 32}}},
    "compressed-tensors": {"ignore": []},
    "hqq": {"skip_modules": []},
    "bnb-4bit": {"llm_int8_skip_modules": []},
    "torchao": {"modules_to_not_convert": []},
}


@pytest.mark.parametrize("way", CONFIGS)
def test_the_config_says_it_in_its_readers_words(tmp_path, way):
    made(tmp_path, way)
    found = json.loads((tmp_path / "q/config.json").read_text())["quantization_config"]
    wanted = json.loads(json.dumps(CONFIGS[way]))
    if way == "gptq":
        assert found["dynamic"].keys() == wanted["dynamic"].keys()
        head = wanted.pop("dynamic")["+:^lm_head$"]
        assert head.items() <= found["dynamic"]["+:^lm_head$"].items()
    assert wanted.items() <= found.items()
    if way == "compressed-tensors":
        named = {tuple(g["targets"]): g["weights"] for g in found["config_groups"].values()}
        assert named["lm_head",]["num_bits"] == 8 and named["Linear",]["num_bits"] == 4


def test_mlx_says_the_head_and_reads_it(tmp_path):
    source = write_checkpoint(tmp_path / "dense", WIDE)
    quantize(source, tmp_path / "q", layout="mlx", head="8bit:64")
    config = json.loads((tmp_path / "q/config.json").read_text())
    assert config["quantization"][HEAD] == {"bits": 8, "group_size": 64}
    assert open_tensors(tmp_path / "q")[f"{HEAD}.weight"].dtype == torch.uint32
    weight = open_tensors(source)[f"{HEAD}.weight"]
    values = round_to_nearest(weight, GridOptions(8, 64))
    found = load_model(tmp_path / "q", dtype=torch.float32).get_parameter(f"{HEAD}.weight")
    torch.testing.assert_close(found, values.dequantize(), rtol=1e-3, atol=1e-3)
    assert open_model(tmp_path / "q").container == "mlx"


@pytest.mark.parametrize("way", ["gptq", "gptq-asym", "compressed-tensors"])
def test_it_moves_to_other_layouts_and_back(tmp_path, way):
    made(tmp_path, way, TIED)
    there = "gptq" if way == "compressed-tensors" else "compressed-tensors"
    back = "compressed-tensors" if way == "compressed-tensors" else "gptq"
    for source, target, layout in (("q", "a", there), ("a", "b", back)):
        paths = {"source": str(tmp_path / source), "output": str(tmp_path / target)}
        execute(ConvertSpec(**paths, to_layout=layout), Console.silent())
        first = packed_linears(load_model(tmp_path / source))
        second = packed_linears(load_model(tmp_path / target))
        assert HEAD in second and first.keys() == second.keys()
        for name, layer in first.items():
            assert torch.equal(layer.dequantize(), second[name].dequantize()), name


def test_layouts_without_packed_heads_refuse_it(tmp_path):
    source, _ = made(tmp_path, "gptq", head="4bit")
    spec = ConvertSpec(source=str(tmp_path / "q"), output=str(tmp_path / "a"), to_layout="awq")
    with pytest.raises(Problem, match="pack the linears of blocks alone, and lm_head is packed"):
        execute(spec, Console.silent())
    with pytest.raises(UsageError, match="awq: its readers take no packed head"):
        quantize(source, tmp_path / "b", layout="awq", head="4bit")
    assert not any((tmp_path / "b").iterdir())


def test_awq_takes_a_layout_that_holds_the_head(dense, text, tmp_path):
    calibration = gptq_options(text) | {"method": "awq"}
    assert quantize(dense, tmp_path / "a", **calibration).layout == "awq"
    result = quantize(dense, tmp_path / "b", head="4bit", **calibration)
    assert result.layout == "gptq" and HEAD in packed_linears(load_model(tmp_path / "b"))
    assert 0 < outcome(result).output_error < outcome(result).weight_error


REFUSED = [
    ({"head": "5bit"}, "head: '5bit' is not like 8bit or 4bit:32"),
    ({"head": "Q6_K"}, "head: 'Q6_K' is not like"),
    ({"head": "8bit", "layout": "gguf"}, "mixes say the type of the output matrix"),
    ({"head": "8bit", "method": "fp8"}, "head has no effect"),
    ({"head": "8bit", "method": "bnb"}, "says 4 bits for all linears, so its head is 4bit"),
    ({"head": "8bit:64", "method": "bnb", "bits": 8}, "so its head is 8bit, without a group size"),
    ({"head": "4bit:16", "method": "bnb"}, "bnb has no such block"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_words_that_mean_nothing_are_refused(options, said):
    with pytest.raises(ValidationError, match=said):
        QuantizeSpec(**{"model": "m", "output": "o", "method": "rtn"} | options)


def test_a_word_that_does_not_fit_is_an_error_before_the_work(dense, tmp_path):
    for head, layout, said in (
        ("4bit:128", None, r"lm_head has 64 inputs.*group_size 128"),
        ("4bit:16", "mlx", "mlx: it has groups of 32, 64 and 128, not 16"),
    ):
        out = tmp_path / head
        with pytest.raises(UsageError, match=said) as error:
            quantize(dense, out, head=head, layout=layout)
        assert error.value.where == "head" and not any(out.iterdir())


HEADLESS = {
    "bert": {"intermediate_size": 64},
    "t5": {"d_kv": 8, "d_ff": 64},
}


@pytest.mark.parametrize("model_type", HEADLESS)
def test_models_without_such_a_head_are_refused(tmp_path, model_type):
    sizes = {"vocab_size": 64, "max_position_embeddings": 64}
    config = whole(model_type, settings(model_type) | sizes | HEADLESS[model_type])
    source = write_checkpoint(tmp_path / "model", {"model_type": model_type, **config})
    with pytest.raises(UsageError, match="has no head that") as error:
        quantize(source, tmp_path / "q", head="8bit")
    assert error.value.where == "head"


NEOX = {
    "model_type": "gpt_neox",
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}
OTHERS = {"mlx": {"layout": "mlx", "head": "8bit"}}


@pytest.mark.parametrize("way", [*WAYS, *OTHERS])
def test_a_head_that_checkpoints_call_otherwise_is_packed_or_named_as_dense(tmp_path, way):
    """embed_out of GPT-NeoX's files is lm_head to transformers 5, and itself to older readers."""
    source = write_checkpoint(tmp_path / "dense", NEOX)
    options = {"group_size": 32} | (WAYS | OTHERS)[way]
    quantize(source, tmp_path / "packed", **options)
    plain, model = load_model(source), load_model(tmp_path / "packed", dtype=torch.float32)
    head = plain.lm_head.weight
    found = model.lm_head.weight if way == "mlx" else model.lm_head.dequantize()
    assert 0 < (found - head).norm() / head.norm() < 0.2
    count = execute(InspectSpec(path=str(tmp_path / "packed")), Console.silent()).result.parameters
    assert count == sum(each.numel() for each in plain.parameters())
    quantize(source, tmp_path / "dense head", **options | {"head": None})
    path = tmp_path / "dense head/config.json"
    said = path.read_text()
    if "gptq" not in way:  # whose key lm_head says it
        assert '"lm_head"' in said and '"embed_out"' in said
        said = said.replace('"lm_head"', '"another"')  # as a program wrote it that knows one name
        path.write_text(said)
    assert torch.equal(
        load_model(tmp_path / "dense head", dtype=torch.float32).lm_head.weight, head
    )


def test_a_checkpoint_of_a_backbone_alone_is_refused(tmp_path):
    source = write_checkpoint(tmp_path / "dense", LLAMA | {"architectures": ["LlamaModel"]})
    with pytest.raises(UsageError, match="has no head that makes scores of words"):
        quantize(source, tmp_path / "q", head="8bit")


@pytest.mark.parametrize("model_type", ["llama", "gemma3_text", "opt", "gptj"])
@pytest.mark.parametrize("tied", [False, True])
def test_calibration_sees_what_the_model_gives_its_head(model_type, tied):
    """With the blocks that are quantized before it, and whatever the family does to states."""
    ids = torch.randint(4, 61, (2, 17), generator=torch.Generator().manual_seed(0))
    model, method = tiny_model(model_type, tie_word_embeddings=tied), Watching(lambda w: w + 0.01)
    _, found = steps(model, [ids[:1], ids[1:]], method, head=HEAD)
    done = [name for names in found for name in names]
    assert done[-1] == HEAD and method.forgotten.count(HEAD) == 1
    for name in done[:-1]:
        model.get_submodule(name).weight.data += 0.01
    shown = []
    model.lm_head.register_forward_pre_hook(lambda _, args: shown.append(args[0].clone()))
    with torch.no_grad():
        model(**inputs_of(model, ids))
    seen = torch.cat(method.seen[HEAD])
    torch.testing.assert_close(seen, shown[0][:, :-1])


@pytest.mark.parametrize("config", [WIDE, TIED, GPT2], ids=["llama", "tied", "gpt2"])
def test_gptq_calibrates_the_head_on_the_quantized_model(tmp_path, text, config):
    source = write_checkpoint(tmp_path / "dense", config)
    options = gptq_options(text) | {"bits": 3, "head": "3bit", "drift": 0}  # aims at the weight
    result = quantize(source, tmp_path / "q", **options)
    weight, model = load_model(source).lm_head.weight, load_model(tmp_path / "q")
    head = packed_linears(model)[HEAD].dequantize()
    plain = round_to_nearest(weight.detach(), GridOptions(3, 32)).dequantize()
    ids = [int(word[1:]) for word in text.read_text().split()]
    with torch.no_grad():
        windows = torch.tensor(ids[:2048]).view(-1, 32)
        states = model(input_ids=windows, return_logits=False).last_hidden_state[:, :-1]
        lost, rounding = ((states @ (w - weight).t()).square().sum() for w in (head, plain))
    assert lost < 0.7 * rounding
    size = (states @ weight.t()).square().sum()
    assert outcome(result).output_error == pytest.approx((lost / size).item(), rel=0.1)


def test_a_budget_counts_the_head_in_its_own_width(dense, text, tmp_path):
    options = gptq_options(text) | {"samples": 24, "device": "cpu", "head": "8bit"}
    result = quantize(dense, tmp_path / "q", **options, target_bits=5.0)
    assert outcome(result).bits == 8 and result.quantized == 15
    weights = sum(m.weight.numel() for m in linears_of(load_model(dense)).values())
    every = weights + LLAMA["vocab_size"] * LLAMA["hidden_size"]
    assert result.budget.bytes == 5 * every // 8 - outcome(result).bytes
    assert result.budget.used <= result.budget.bytes
    assert 4.8 < result.bits_per_weight <= 5
    assert HEAD not in {name for group in result.budget.groups for name in group.linears}
    size = result.bytes_after
    again = quantize(dense, tmp_path / "s", **options, target_size=str(size))
    assert 0.97 * size < again.bytes_after <= size and outcome(again).bits == 8


def test_the_measured_divergence_is_that_of_the_quantized_head(dense, text, tmp_path):
    options = gptq_options(text) | {"samples": 24, "device": "cpu", "target_bits": 6.0}
    found = {
        head: quantize(dense, tmp_path / f"q{head}", head=head, **options).budget.kl_divergence
        for head in ("8bit", "2bit")
    }
    assert found["2bit"] > 2 * found["8bit"]


def test_a_wide_head_runs_with_the_kernels_of_this_processor(tmp_path):
    config = TIED | {"vocab_size": 1024}
    source = write_checkpoint(tmp_path / "dense", config)
    quantize(source, tmp_path / "q", head="8bit")
    checkpoint, cpu = open_model(str(tmp_path / "q")), torch.device("cpu")
    ready = load_ready(checkpoint, Console.silent(), dtype="float32", device=cpu)
    if not isinstance(ready.lm_head, KernelLinear):
        pytest.skip("this machine has no kernels")
    exact = logits(load_model(tmp_path / "q"), 1)
    assert (logits(ready, 1) - exact).norm() < 0.02 * exact.norm()


GPTQMODEL = Path(__file__).parents[2] / ".gptqmodel/bin/python"
TORCHAO = Path(__file__).parents[2] / ".torchao/bin/python"
COMPRESSED = Path(__file__).parents[2] / ".compressed-tensors/bin/python"
IN_GPTQMODEL = """
import sys, torch
from gptqmodel import BACKEND, GPTQModel
model = GPTQModel.load(sys.argv[1], device="cpu", backend=BACKEND.GPTQ_TORCH, dtype=torch.float16)
assert type(model.model.lm_head).__name__ == "TorchLinear", type(model.model.lm_head)
with torch.no_grad():
    torch.save(model.model(torch.arange(24)[None]).logits.float(), sys.argv[2])
"""
IN_TRANSFORMERS = """
import sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
assert type(model.lm_head.weight) is not torch.nn.Parameter or "weight" not in dict(
    model.lm_head.named_parameters()), type(model.lm_head.weight)
with torch.no_grad():
    torch.save(model(torch.arange(24)[None]).logits.float(), sys.argv[2])
"""


def theirs(python, script, folder):
    if not python.exists():
        pytest.skip(f"there is no {python.parents[1].name}: see scripts")
    command = [python, "-c", script, str(folder), str(folder.parent / "theirs.pt")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return torch.load(folder.parent / "theirs.pt")


@pytest.mark.interop
@pytest.mark.parametrize("config", [WIDE, TIED], ids=["apart", "tied"])
@pytest.mark.parametrize("way", ["gptq", "gptq-asym"])
def test_gptqmodel_runs_the_packed_head(tmp_path, way, config):
    made(tmp_path, way, config | {"vocab_size": 96, "architectures": ["LlamaForCausalLM"]})
    found, ours = (
        theirs(GPTQMODEL, IN_GPTQMODEL, tmp_path / "q"),
        logits(load_model(tmp_path / "q")),
    )
    assert (found - ours).abs().max() < 0.01 * ours.abs().max()


@pytest.mark.interop
@pytest.mark.parametrize("config", [WIDE, TIED], ids=["apart", "tied"])
@pytest.mark.parametrize("way", ["torchao", "compressed-tensors"])
def test_transformers_runs_the_packed_head_of_other_environments(tmp_path, way, config):
    made(tmp_path, way, config)
    python = TORCHAO if way == "torchao" else COMPRESSED
    found = theirs(python, IN_TRANSFORMERS, tmp_path / "q")
    ours = logits(load_model(tmp_path / "q", dtype=torch.float32))
    assert (found - ours).norm() < 0.03 * ours.norm()


@pytest.mark.interop
@pytest.mark.parametrize("config", [WIDE, TIED], ids=["apart", "tied"])
@pytest.mark.parametrize("way", ["bnb-4bit", "bnb-8bit"])
def test_transformers_runs_the_packed_head_of_bitsandbytes(tmp_path, way, config):
    bnb = pytest.importorskip("bitsandbytes")
    from transformers import AutoModelForCausalLM

    made(tmp_path, way, config)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "q", dtype=torch.float32).eval()
    assert isinstance(model.lm_head, bnb.nn.Linear4bit | bnb.nn.Linear8bitLt)
    ours = logits(load_model(tmp_path / "q", dtype=torch.float32))
    assert (logits(model) - ours).norm() < 0.02 * ours.norm()
