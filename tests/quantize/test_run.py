"""`tfcli quantize` on tiny checkpoints: what is written, what is reported, what is refused."""

import json
import random
import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.models.tiny import settings, whole
from tfcli.checkpoints.folder import load_model, open_model, save_model
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.errors import UsageError, WorkError
from tfcli.evaluate.score import Distance, score
from tfcli.evaluate.windows import Plan, plan_windows
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.loading import build, initialize
from tfcli.models.quantized import packed_linears
from tfcli.models.registry import read_config
from tfcli.models.walks import linears_of
from tfcli.quantize.run import run
from tfcli.quantize.spec import QuantizeSpec
from tfcli.quantize.text import inputs_of
from tfcli.recipe.job import Job

LLAMA = {
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
}
GPT2 = {
    "model_type": "gpt2",
    "vocab_size": 64,
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 32,
    "initializer_range": 0.2,
}
MIXTURES = {
    # One layer with experts and one without; then experts that checkpoints keep as one stack.
    "qwen2_moe": LLAMA
    | {
        "model_type": "qwen2_moe",
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
        "decoder_sparse_step": 2,
    },
    "gpt_oss": LLAMA
    | {
        "model_type": "gpt_oss",
        "head_dim": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
    },
}
WORDS = [f"w{number}" for number in range(60)]


def write_checkpoint(folder, config, dtype=torch.float32):
    model = initialize(build(read_config(config)), seed=0, dtype=dtype)
    save_model(model, folder)
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def dense(tmp_path):
    return write_checkpoint(tmp_path / "dense", LLAMA)


@pytest.fixture
def text(tmp_path):
    """Words that follow one another by a rule, so that activations are correlated."""
    draw = random.Random(0)
    words = [draw.randrange(60)]
    for _ in range(3000):
        words.append((words[-1] * 7 + draw.choice([1, 1, 2])) % 60)
    path = tmp_path / "text.txt"
    path.write_text(" ".join(WORDS[word] for word in words))
    return path


def quantize(dense, out, **options):
    out.mkdir()
    options = {"method": "rtn", "group_size": 32} | options
    return run(QuantizeSpec(model=str(dense), output=str(out), **options), Job(folder=out))


def content(folder):
    """All weight files, in order."""
    return [path.read_bytes() for path in sorted(folder.glob("*.safetensors"))]


def gptq_options(text):
    return {"method": "gptq", "data": str(text), "sequence_length": 32, "samples": 64}


def divergence(dense, quantized):
    """Mean KL divergence of next-token distributions on random ids."""
    ids = torch.randint(60, (8, 32), generator=torch.Generator().manual_seed(1)).tolist()
    windows = plan_windows([len(each) for each in ids], Plan(32, 32))
    return Distance.of(score(load_model(quantized), ids, windows, reference=load_model(dense))).mean


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
@pytest.mark.parametrize("method", ["rtn", "gptq"])
@pytest.mark.parametrize("bits", [3, 4])
def test_a_quantized_folder_loads_and_equals_its_dequantized_weights(
    tmp_path, text, config, method, bits
):
    dense = write_checkpoint(tmp_path / "model", config)
    options = gptq_options(text) if method == "gptq" else {}
    result = quantize(dense, tmp_path / "q", bits=bits, **options)

    packed, plain = load_model(tmp_path / "q"), load_model(dense)
    swapped = {n: m for n, m in packed.named_modules() if isinstance(m, QuantizedLinear)}
    assert len(swapped) == result.quantized
    for name, layer in swapped.items():
        weight = plain.get_parameter(f"{name}.weight")
        outcome = next(o for o in result.tensors if o.name == f"{name}.weight")
        error = (layer.dequantize() - weight).square().sum() / weight.square().sum()
        assert outcome.weight_error == pytest.approx(error.item(), rel=1e-4)
        weight.data = layer.dequantize()
    ids = torch.arange(24)[None]
    with torch.no_grad():
        torch.testing.assert_close(packed(input_ids=ids).logits, plain(input_ids=ids).logits)


KINDS = {
    "t5": {"d_kv": 8, "d_ff": 64},
    "bart": {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64},
    "bert": {"intermediate_size": 64},
    "albert": {"intermediate_size": 64},
    "deberta-v2": {"intermediate_size": 64},
}


@pytest.mark.parametrize("model_type", KINDS)
def test_encoders_and_both_stacks_are_calibrated(tmp_path, text, model_type):
    """Whatever runs between blocks and how often: what is quantized from a text errs less on it."""
    sizes = {"vocab_size": 64, "max_position_embeddings": 64}
    config = whole(model_type, settings(model_type) | sizes | KINDS[model_type])
    dense = write_checkpoint(tmp_path / "model", {"model_type": model_type, **config})
    plain = load_model(dense, task=None)
    seen = inputs_of(plain, torch.arange(4, 36)[None])
    errors = {}
    for method, given in (("rtn", {}), ("gptq", gptq_options(text))):
        result = quantize(dense, tmp_path / method, bits=3, **given)
        packed = load_model(tmp_path / method, task=None)
        assert len(packed_linears(packed)) == result.quantized == len(linears_of(plain))
        with torch.no_grad():
            errors[method] = (packed(**seen).logits - plain(**seen).logits).norm().item()
    assert errors["gptq"] < errors["rtn"]


@pytest.mark.parametrize("model_type", MIXTURES)
@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_every_expert_is_quantized_and_the_router_is_not(tmp_path, text, model_type, method):
    dense = write_checkpoint(tmp_path / "model", MIXTURES[model_type])
    options = gptq_options(text) if method == "gptq" else {}
    result = quantize(dense, tmp_path / "q", **options)

    packed, plain = load_model(tmp_path / "q"), load_model(dense)
    swapped = {n: m for n, m in packed.named_modules() if isinstance(m, QuantizedLinear)}
    linears = {
        name
        for name, module in plain.model.layers.named_modules(prefix="model.layers")
        if isinstance(module, torch.nn.Linear)
    }
    assert set(swapped) == linears and len(linears) == result.quantized
    assert {outcome.name for outcome in result.tensors} == set(open_tensors(dense))
    kept = {outcome.name: outcome.reason for outcome in result.tensors if outcome.outcome == "kept"}
    router = "router" if model_type == "gpt_oss" else "gate"
    assert kept[f"model.layers.1.mlp.{router}.weight"] == "not a linear"
    for name, layer in swapped.items():
        plain.get_parameter(f"{name}.weight").data = layer.dequantize()
    ids = torch.arange(24)[None]
    with torch.no_grad():
        torch.testing.assert_close(packed(input_ids=ids).logits, plain(input_ids=ids).logits)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_gptq_diverges_less_than_rounding(dense, text, tmp_path, bits):
    quantize(dense, tmp_path / "rtn", bits=bits)
    result = quantize(dense, tmp_path / "gptq", bits=bits, **gptq_options(text))
    assert divergence(dense, tmp_path / "gptq") < divergence(dense, tmp_path / "rtn")
    assert result.mean_output_error < result.mean_weight_error


def test_every_tensor_is_accounted_for(dense, tmp_path):
    result = quantize(dense, tmp_path / "q")
    source, written = open_tensors(dense), open_tensors(tmp_path / "q")
    assert {outcome.name for outcome in result.tensors} == set(source)
    assert result.quantized + result.kept + result.dropped == len(source)
    assert (result.quantized, result.dropped) == (14, 0)
    assert result.bytes_before == source.nbytes
    assert result.bytes_after == written.nbytes
    reasons = {outcome.name: outcome.reason for outcome in result.tensors}
    assert reasons["model.embed_tokens.weight"] == "outside of the blocks"
    assert reasons["model.layers.0.input_layernorm.weight"] == "not a linear"
    # 4 bits, and for each group of 32 an fp16 scale and a 4-bit zero point; g_idx comes on top.
    assert 4 + 20 / 32 < result.bits_per_weight < 4 + 20 / 32 + 0.7


def test_the_config_says_what_readers_need(dense, tmp_path):
    quantize(dense, tmp_path / "q", bits=3, symmetric=False)
    found = json.loads((tmp_path / "q" / "config.json").read_text())["quantization_config"]
    expected = {
        "quant_method": "gptq",
        "bits": 3,
        "group_size": 32,
        "desc_act": False,
        "sym": False,
        "lm_head": False,
        "checkpoint_format": "gptq_v2",
    }
    assert expected.items() <= found.items()
    assert found["meta"]["quantizer"][0].startswith("tfcli:")
    assert (tmp_path / "q" / "tokenizer.json").exists()


def test_skip_keeps_a_linear_and_says_so_to_readers(dense, tmp_path, capsys):
    result = quantize(dense, tmp_path / "q", exclude=[r"layers\.0\.mlp\.down_proj$"])
    name = "model.layers.0.mlp.down_proj"
    outcome = next(o for o in result.tensors if o.name == f"{name}.weight")
    assert (outcome.outcome, outcome.reason) == (
        "kept",
        r"named by exclude: layers\.0\.mlp\.down_proj$",
    )
    model = load_model(tmp_path / "q")
    assert isinstance(model.get_submodule(name), torch.nn.Linear)
    assert isinstance(model.model.layers[1].mlp.down_proj, QuantizedLinear)
    assert "transformers" in capsys.readouterr().err


def test_a_skip_in_every_block_is_told_to_transformers_too(dense, tmp_path, capsys):
    quantize(dense, tmp_path / "q", exclude=["down_proj", "k_proj"])
    found = json.loads((tmp_path / "q" / "config.json").read_text())["quantization_config"]
    expected = ["q_proj", "v_proj", "o_proj"]
    expected = [f"self_attn.{name}" for name in expected] + ["mlp.gate_proj", "mlp.up_proj"]
    assert found["modules_in_block_to_quantize"] == [expected]
    assert len(found["dynamic"]) == 4
    load_model(tmp_path / "q")
    assert not capsys.readouterr().err


def test_a_linear_that_does_not_divide_is_an_error_before_the_work(dense, tmp_path):
    with pytest.raises(UsageError, match=r"down_proj has 96 inputs.*group_size 64"):
        quantize(dense, tmp_path / "q", group_size=64)
    assert not any((tmp_path / "q").iterdir())
    quantize(dense, tmp_path / "skipped", group_size=64, exclude=["down_proj"])


@pytest.mark.parametrize(("size", "chosen"), [(256, 128), (192, 64), (96, 32)])
def test_a_group_size_that_is_left_out_is_the_largest_that_divides(tmp_path, capsys, size, chosen):
    dense = write_checkpoint(
        tmp_path / "dense", LLAMA | {"hidden_size": 128, "intermediate_size": size}
    )
    (tmp_path / "q").mkdir()
    spec = QuantizeSpec(model=str(dense), output=str(tmp_path / "q"), method="rtn")
    result = run(spec, Job(Console(), tmp_path / "q"))
    said = f"128 does not divide the {size} of model.layers.0.mlp.down_proj"
    assert result.group_size == chosen
    assert (said in capsys.readouterr().err) == (chosen != 128)
    config = json.loads((tmp_path / "q/config.json").read_text())["quantization_config"]
    assert config["group_size"] == chosen
    load_model(tmp_path / "q")


@pytest.mark.parametrize(("samples", "warned"), [(2, True), (64, False)])
def test_calibration_with_fewer_tokens_than_inputs_is_warned_of(
    dense, text, tmp_path, capsys, samples, warned
):
    quantize(dense, tmp_path / "q", **gptq_options(text) | {"samples": samples})
    said = "64 tokens, fewer than the 96 inputs of model.layers.0.mlp.down_proj"
    assert (said in capsys.readouterr().err) == warned


@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_scales_that_fp16_cannot_hold_are_named_or_refused(tmp_path, text, capsys, method):
    dense = write_checkpoint(tmp_path / "dense", LLAMA)
    model = initialize(build(read_config(LLAMA)), seed=0)
    weight = model.get_parameter("model.layers.1.mlp.up_proj.weight").data
    options = gptq_options(text) if method == "gptq" else {}
    weight[3] *= 1e-8
    save_model(model, dense)
    result = quantize(dense, tmp_path / "small", **options)
    counts = {o.name: o.coarse_scales for o in result.tensors if o.coarse_scales}
    assert counts == {"model.layers.1.mlp.up_proj.weight": 2}
    assert "2 of them in model.layers.1.mlp.up_proj.weight" in capsys.readouterr().err
    weight[3] = 1e7
    save_model(model, dense)
    with pytest.raises(WorkError, match=r"model\.layers\.1\.mlp\.up_proj"):
        quantize(dense, tmp_path / "large", **options)


@pytest.mark.parametrize("shape", [(0,), (32, 64)])
def test_a_tensor_that_its_config_contradicts_is_refused_before_the_work(dense, tmp_path, shape):
    name = "model.layers.1.mlp.up_proj.weight"
    held = open_tensors(dense)
    tensors = {key: held[key].clone() for key in held} | {name: torch.zeros(shape)}
    write_safetensors(
        dense / "model.safetensors", [PendingTensor.of(*item) for item in tensors.items()]
    )
    with pytest.raises(WorkError, match=f"do not fit the config: '{name}'"):
        quantize(dense, tmp_path / "out")


def test_a_skip_that_matches_nothing_is_an_error(dense, tmp_path):
    with pytest.raises(UsageError, match="'lm_head' matches no linear"):
        quantize(dense, tmp_path / "q", exclude=["lm_head"])


GROWTH = """
import sys
from tests.convert.memory import peak_growth
from tfcli.console import Console
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.execute import execute

def quantize(source, output):
    execute(QuantizeSpec(model=source, output=output, method="rtn"), Console.silent())

quantize(sys.argv[1], sys.argv[3])  # imports, and what torch keeps at its first use
print(peak_growth(lambda: quantize(sys.argv[2], sys.argv[4])))
"""


def test_rounding_never_holds_the_model(dense, tmp_path):
    wide = LLAMA | {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 16}
    large = write_checkpoint(tmp_path / "large", wide)
    words = [str(dense), str(large), str(tmp_path / "q"), str(tmp_path / "large q")]
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, *words], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < open_tensors(large).nbytes / 3


@pytest.mark.parametrize("options", ["rtn", "gptq"])
@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.1.mlp.up_proj.weight"])
def test_nan_is_never_written(tmp_path, text, options, name):
    model = initialize(build(read_config(LLAMA)), seed=0)
    model.get_parameter(name).data.view(-1)[3] = float("nan")
    dense = write_checkpoint(tmp_path / "dense", LLAMA)
    save_model(model, dense)
    with pytest.raises(WorkError, match=name):
        quantize(dense, tmp_path / "q", **(gptq_options(text) if options == "gptq" else {}))
    written = sorted(path.name for path in (tmp_path / "q").glob("*.safetensors"))
    late = options == "rtn" and "layers.1" in name
    # What is calibrated is looked at as a whole first; without data the blocks before are done.
    assert written == ([f"model-0000{n}-of-00003.safetensors" for n in (1, 2)] if late else [])
    assert not (tmp_path / "q" / "config.json").exists()


def test_calibration_is_reported_and_too_few_windows_are_all_used(dense, text, tmp_path):
    options = gptq_options(text) | {"samples": 1000}
    found = quantize(dense, tmp_path / "q", **options).calibration
    assert (found.documents, found.windows, found.tokens) == (1, 3001 // 32, 3001 // 32 * 32)
    assert found.windows == found.windows_available
    assert len(found.first_ids) == 8


def test_the_same_seed_gives_the_same_bytes(dense, text, tmp_path):
    options = gptq_options(text) | {"samples": 8}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        quantize(dense, tmp_path / name, seed=seed, **options)
    a, b, c = (content(tmp_path / name) for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("samples", 4),
        ("sequence_length", 16),
        ("damping", 0.5),
        ("order", "natural"),
        ("order", "activation"),
        ("static_groups", True),
        ("refine", 0),
        ("drift", 0),
        ("symmetric", False),
        ("scale_search", "max"),
        ("scale_search", "mse"),
        ("group_size", 16),
        ("bits", 8),
    ],
)
def test_each_key_changes_what_is_written(dense, text, tmp_path, key, value):
    options = {"bits": 3} | gptq_options(text)
    quantize(dense, tmp_path / "a", **options)
    quantize(dense, tmp_path / "b", **options | {key: value})
    a, b = (content(tmp_path / name) for name in "ab")
    assert a != b


def test_batch_size_changes_memory_and_not_the_result(dense, text, tmp_path):
    for name, size in (("a", 3), ("b", 64)):
        quantize(dense, tmp_path / name, **gptq_options(text) | {"batch_size": size})
    a, b = (open_tensors(tmp_path / n) for n in "ab")
    levels = [name for name in a if name.endswith("qweight")]
    changed = sum((a[name] != b[name]).sum().item() for name in levels)
    assert changed <= 0.01 * sum(a[name].numel() for name in levels)  # ties by rounding noise


def test_gptq_without_a_text_calibrates_on_the_one_that_python_carries(dense, tmp_path):
    result = quantize(dense, tmp_path / "q", method="gptq", group_size=32, samples=2)
    assert result.calibration.documents == 79
    positions = open_model(dense).model_config.max_position_embeddings
    assert result.calibration.sequence_length == min(512, positions)


def test_keys_without_effect_are_refused():
    with pytest.raises(ValidationError, match="samples has no effect with method: rtn"):
        QuantizeSpec(model="m", output="o", method="rtn", samples=3)
    with pytest.raises(ValidationError, match="no regular expression"):
        QuantizeSpec(model="m", output="o", method="rtn", exclude=["("])
    spec = QuantizeSpec(model="m", output="o", method="rtn")
    assert QuantizeSpec(**spec.model_dump()) == spec


def test_a_quantized_checkpoint_is_refused(dense, tmp_path):
    quantize(dense, tmp_path / "q")
    with pytest.raises(UsageError, match="quantized already"):
        quantize(tmp_path / "q", tmp_path / "again")


def test_windows_longer_than_the_model_are_refused(dense, text, tmp_path):
    with pytest.raises(UsageError, match=r"64 is more than the model's 32"):
        quantize(dense, tmp_path / "q", **gptq_options(text) | {"sequence_length": 64})


def test_linears_can_have_bits_and_groups_of_their_own(dense, tmp_path):
    overrides = [r"layers\.0\.mlp\.down_proj=8bit", r"down_proj=3bit:16"]
    result = quantize(dense, tmp_path / "q", overrides=overrides)
    widths = {o.name: (o.bits, o.group_size) for o in result.tensors if o.outcome == "quantized"}
    assert widths.pop("model.layers.0.mlp.down_proj.weight") == (8, 32)
    assert widths.pop("model.layers.1.mlp.down_proj.weight") == (3, 16)
    assert set(widths.values()) == {(4, 32)}
    packed = packed_linears(load_model(tmp_path / "q"))
    assert packed["model.layers.0.mlp.down_proj"].packing.bits == 8
    assert packed["model.layers.1.mlp.down_proj"].packing.format.group_size == 16
    with pytest.raises(UsageError, match="'lm_head' matches no linear"):
        quantize(dense, tmp_path / "r", overrides=["lm_head=8bit"])
    with pytest.raises(ValidationError, match="'down_proj=5bit' is not like"):
        QuantizeSpec(model="m", output="o", overrides=["down_proj=5bit"])
    with pytest.raises(ValidationError, match="overrides"):
        QuantizeSpec(model="m", output="o", overrides=["(=4bit"])


def test_experts_that_few_tokens_go_to_are_rounded_and_it_is_said(tmp_path, text, capsys):
    dense = write_checkpoint(tmp_path / "model", MIXTURES["qwen2_moe"])
    options = gptq_options(text) | {"bits": 3}
    every = quantize(dense, tmp_path / "every", expert_tokens=0, **options)
    most = max(o.tokens for o in every.tensors if o.tokens is not None)
    (tmp_path / "q").mkdir()
    spec = QuantizeSpec(
        model=str(dense), output=str(tmp_path / "q"), group_size=32, expert_tokens=most, **options
    )
    result = run(spec, Job(Console(), tmp_path / "q"))
    quantize(dense, tmp_path / "none", expert_tokens=10**6, **options)
    held, unseen = (open_tensors(tmp_path / name) for name in ("q", "none"))
    experts = {o.name: o for o in result.tensors if o.tokens is not None}
    assert len(experts) == 4 * 3
    assert sum(o.tokens for name, o in experts.items() if "gate_proj" in name) == 64 * 32 * 2
    few = {name for name, o in experts.items() if o.tokens < most}
    assert few and few < set(experts)
    assert {o.name for o in result.tensors if o.fallback} == few
    for name in experts:
        part = name.replace(".weight", ".qweight")
        assert torch.equal(held[part], unseen[part]) is (name in few)
    assert f"{len(few)} linears of experts got fewer than {most}" in capsys.readouterr().err


@pytest.mark.parametrize(("layout", "said"), [("gptq", True), ("compressed-tensors", False)])
def test_only_a_config_that_cannot_say_what_is_left_out_is_warned_of(
    dense, tmp_path, layout, said, capsys
):
    (tmp_path / "q").mkdir()
    options = {"method": "rtn", "group_size": 32, "exclude": [r"layers\.0\.mlp\.down"]}
    spec = QuantizeSpec(model=str(dense), output=str(tmp_path / "q"), layout=layout, **options)
    run(spec, Job(Console(), tmp_path / "q"))
    assert ("some blocks leave out linears" in capsys.readouterr().err) is said


@pytest.mark.parametrize("layout", ["gptq", "awq", "mlx"])
def test_rounded_inputs_go_into_no_layout_that_says_nothing_of_them(dense, tmp_path, layout):
    bits = 4 if layout == "awq" else 8
    with pytest.raises(UsageError, match="nothing of inputs that are rounded"):
        quantize(dense, tmp_path / "q", layout=layout, round_inputs=True, bits=bits)
