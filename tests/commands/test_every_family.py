"""The commands work with every family that is registered: what one takes, all of its kind take."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from tests.models.tiny import TEXT, settings, tiny_model
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.commands.app import run
from tfcli.evaluate.predict import TASKS
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.model import Model
from tfcli.models.registry import FAMILIES
from tfcli.models.saving import export_tensors, stored_place
from tfcli.models.walks import linears_of

MASK = "[MASK]"
WORDS = 328  # of the tokenizer, and some
GENERATES = ("causal-lm", "seq2seq-lm")
PACK = 32  # what can be quantized has multiples of it for sizes
SIZES = (
    "intermediate_size",
    "intermediate_size_mlp",
    "moe_intermediate_size",
    "shared_intermediate_size",
    "shared_expert_intermediate_size",
    "shared_intermediate_size",
    "hidden_dim",
    "ffn_dim",
    "d_ff",
    "encoder_ffn_dim",
    "decoder_ffn_dim",
)
# A first token reads (q k) v, whose norm has the sign of q k however small that is: eps helps.
DELTA = {"linear_key_head_dim": 16, "linear_value_head_dim": 16, "rms_norm_eps": 0.01}
# What else a family needs to be packed.
_LATENT = {"q_lora_rank": 32, "kv_lora_rank": 32, "qk_rope_head_dim": 32, "qk_nope_head_dim": 8}
WIDER: dict[str, dict[str, Any]] = {
    "deepseek_v2": _LATENT,
    "deepseek_v3": _LATENT,
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 32, "mamba_d_state": 16},
    "granitemoehybrid": {"mamba_n_heads": 32, "mamba_d_state": 16},
    "falcon": {"hidden_size": 64},
    # Every token goes to every expert: where two are all but tied, a rounding may exchange them.
    "glm4_moe": {"num_experts_per_tok": 8, "n_group": 1, "topk_group": 1},
    "fsmt": {"src_vocab_size": WORDS},
    "gpt_bigcode": {"n_embd": 64},
    "jamba": {"mamba_d_state": 16, "mamba_dt_rank": 32},
    "lfm2": {"block_multiple_of": 32},
    "llama4_text": {"num_experts_per_tok": 4},
    "mamba": {"state_size": 16, "time_step_rank": 32},
    "mamba2": {"num_heads": 32, "head_dim": 2},
    "mt5": {"d_kv": 8},
    "olmo2": {"hidden_size": 64},
    "qwen3_5_moe_text": DELTA,
    "qwen3_5_text": DELTA,
    "qwen3_next": DELTA,
    "t5": {"d_kv": 8},
    "t5gemma": {"head_dim": 8},
    "umt5": {"d_kv": 8},
}
pytestmark = pytest.mark.families

every_family = pytest.mark.parametrize("model_type", TEXT)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The models are so small that a second thread costs more than it computes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory, tiny_tokenizer) -> Path:
    """The tiny tokenizer with a token that masks others."""
    folder = tmp_path_factory.mktemp("masking") / "tokenizer"
    shutil.copytree(tiny_tokenizer, folder)
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.add_special_tokens([MASK])
    backend.save(str(folder / "tokenizer.json"))
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "mask_token": MASK}))
    return folder


@pytest.fixture(scope="session")
def text(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("eval") / "text.txt"
    path.write_text("The lexical analyser reads a line of source text.\n")
    return path


@pytest.fixture(scope="session")
def model_of() -> Callable[[str], Model]:
    """The family's tiny model for its first task, at sizes that can be packed. Made once."""
    made: dict[str, Model] = {}

    def model(model_type: str) -> Model:
        if model_type not in made:
            made[model_type] = tiny_model(model_type, **packable(model_type), vocab_size=WORDS)
        return made[model_type]

    return model


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory, model_of, tokenizer) -> Callable[[str], Path]:
    """A checkpoint of that model with the tokenizer. Made once; not to be changed."""
    root = tmp_path_factory.mktemp("families")

    def folder(model_type: str) -> Path:
        path = root / model_type
        if not path.exists():
            save_model(model_of(model_type), path, tokenizer_from=tokenizer)
        return path

    return folder


@pytest.fixture
def tfcli(capsys) -> Callable[..., dict[str, Any]]:
    """Runs a command and gives its JSON."""

    def call(*words: object, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        ended = run([*map(str, words), "--json"])
        printed = capsys.readouterr()
        assert ended == code, printed.out + printed.err
        return json.loads(printed.out)

    return call


def packable(model_type: str) -> dict[str, Any]:
    """Changes of a family's tiny settings, with which its linears can be packed."""
    tiny = settings(model_type)
    wider = {key: -(-tiny[key] // PACK) * PACK for key in SIZES if tiny.get(key)}
    if "num_key_value_heads" in tiny:
        wider["num_key_value_heads"] = tiny["num_attention_heads"]
    return wider | WIDER.get(model_type, {})


def answer(model: Model) -> torch.Tensor:
    """The logits of a short input."""
    ids = torch.arange(4, 12)[None]
    inputs = {"decoder_input_ids": ids} if model.task == "seq2seq-lm" else {}
    with torch.no_grad():
        return model(input_ids=ids, **inputs).logits


def weights(model: Model) -> int:
    """How many numbers a checkpoint of the model holds."""
    return sum(tensor.numel() for _, tensor in export_tensors(model))


@every_family
def test_inspect_knows_task_and_size(tfcli, folder_of, model_of, model_type):
    found, model = tfcli("inspect", folder_of(model_type)), model_of(model_type)
    family = FAMILIES[model_type]
    assert found["model_type"] == model_type
    assert found["task"] == model.task == next(iter(family.heads))
    assert found["architecture"] == family.names[model.task]
    assert found["problem"] is None
    assert found["parameters"] == weights(model)


@every_family
def test_convert_writes_what_loads_again(tfcli, folder_of, model_of, model_type, tmp_path):
    result = tfcli("convert", folder_of(model_type), tmp_path / "bf16", "--dtype", "bf16")
    assert result["verified"] == len(open_tensors(tmp_path / "bf16"))
    half = load_model(tmp_path / "bf16", task=None)
    assert half.dtype == torch.bfloat16
    whole = answer(model_of(model_type))
    assert (answer(half).float() - whole).abs().max() <= 0.1 * whole.abs().max()


@every_family
def test_ties_that_are_stored_twice_count_and_are_written_once(
    tfcli, folder_of, model_of, model_type, tmp_path
):
    """As pickled checkpoints hold them."""
    model = model_of(model_type)
    ties = model.active_ties()
    tensors = dict(export_tensors(model))
    for name in ties:
        tensors[stored_place(model, name).name] = model.get_parameter(name).detach()
    twice = tmp_path / "twice"
    shutil.copytree(folder_of(model_type), twice)
    pending = [PendingTensor.of(name, tensor) for name, tensor in tensors.items()]
    write_safetensors(twice / "model.safetensors", pending)
    assert tfcli("inspect", twice)["parameters"] == weights(model)
    result = tfcli("convert", twice, tmp_path / "out")
    assert result["tied"] == len(ties)
    assert set(open_tensors(tmp_path / "out")) == set(dict(export_tensors(model)))
    again = load_model(tmp_path / "out", task=None)
    torch.testing.assert_close(answer(again), answer(model))


@pytest.mark.parametrize(
    "model_type", [name for name, family in FAMILIES.items() if set(TASKS) & set(family.heads)]
)
def test_eval_measures_what_predicts_tokens(tfcli, folder_of, model_of, model_type, text):
    found = tfcli("eval", folder_of(model_type), "--data", text, "--window", 12)
    assert found["task"] == TASKS[model_of(model_type).task]
    assert 1 < found["perplexity"] < float("inf")


@every_family
def test_generate_makes_text_or_says_that_it_cannot(tfcli, folder_of, model_type):
    command = ("generate", folder_of(model_type), "A line", "--max-new-tokens", 3)
    task = next((task for task in GENERATES if task in FAMILIES[model_type].heads), None)
    if task is None:
        error = tfcli(*command, code=2)["error"]
        assert error["what"] == f"{model_type} cannot generate text"
        assert next(iter(FAMILIES[model_type].heads)) in error["fix"]
        return
    found = tfcli(*command)
    assert (found["task"], found["cache"]) == (task, "dynamic")
    assert 1 <= len(found["token_ids"]) <= 3
    for cache in ("dynamic", "offloaded", "quantized8"):  # 8 bits come after many tokens
        assert tfcli(*command, "--cache", cache)["token_ids"] == found["token_ids"]


@every_family
def test_quantize_packs_every_linear_or_says_that_it_cannot(
    tfcli, folder_of, model_of, model_type, tmp_path
):
    out = tmp_path / "int8"
    options = ("--method", "rtn", "--bits", 8, "--group-size", -1)
    command = ("quantize", folder_of(model_type), out, *options)
    model = model_of(model_type)
    if not model.walks:
        assert "no calibration walk" in tfcli(*command, code=1)["error"]["what"]
        return
    linears = linears_of(model).values()
    if any(size % PACK for linear in linears for size in linear.weight.shape):
        assert model_type == "convbert"  # its kernels have as many outputs as they are long
        assert "can be packed" in tfcli(*command, code=2)["error"]["what"]
        return
    assert tfcli(*command)["quantized"] == len(linears)
    packed = load_model(out, task=None)
    assert sum(isinstance(m, QuantizedLinear) for m in packed.modules()) == len(linears)
    whole = answer(model)
    assert (answer(packed) - whole).abs().max() <= 0.1 * whole.abs().max()
