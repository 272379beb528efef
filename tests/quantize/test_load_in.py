"""Quantizing while loading: the numbers of `tfcli quantize`, without its folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch

from tests.conftest import make_tiny_llama
from tests.convert.memory import SLACK
from tests.models.tiny import tiny_model
from tfcli.checkpoints.folder import load_model, open_model, save_model
from tfcli.commands.app import run as command
from tfcli.console import Console
from tfcli.errors import UsageError, WorkError
from tfcli.loaded import load
from tfcli.models.kernels import dense, library
from tfcli.models.layers.kernel_linear import KernelLinear
from tfcli.models.loading import build, initialize
from tfcli.models.quantized import packed_linears
from tfcli.models.registry import read_config
from tfcli.quantize.load_in import WORDS, load_in
from tfcli.quantize.run import run
from tfcli.quantize.spec import QuantizeSpec
from tfcli.ready import load_ready
from tfcli.recipe.job import Job
from tfcli.recipe.shared_keys import LoadIn

every_word = pytest.mark.parametrize("word", WORDS)
CPU = torch.device("cpu")
IDS = torch.arange(1, 31).view(2, 15)


def written(source: Path, folder: Path, word: str, **more: object) -> Path:
    """What `tfcli quantize` writes with the keys that a word stands for."""
    folder.mkdir()
    spec = QuantizeSpec(model=str(source), output=str(folder), **WORDS[word], **more)
    run(spec, Job(folder=folder))
    return folder


def packed(source: Path, word: str):
    return load_in(open_model(source), word, Console.silent())


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_the_words_are_those_of_the_key():
    literal, _ = get_args(get_args(LoadIn)[0])
    assert set(get_args(literal)) == set(WORDS)


@every_word
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_the_checkpoint_that_quantize_writes(tiny_llama, tmp_path, word, dtype):
    source = tmp_path / "dense"
    save_model(load_model(tiny_llama, dtype=dtype), source)
    view, folder = packed(source, word), open_model(written(source, tmp_path / "q", word))
    assert view.tensors.keys() == folder.tensors.keys()
    for name, tensor in folder.tensors.items():
        found = view.tensors[name]
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(found.read(), tensor.read()), name
    model, stored = load_model(view), load_model(folder)
    assert packed_linears(model).keys() == packed_linears(stored).keys()
    assert len(packed_linears(model)) == 14
    assert torch.equal(logits(model), logits(stored))


@every_word
def test_it_runs_in_the_same_form(tiny_llama, tmp_path, word, monkeypatch):
    monkeypatch.setattr(dense, "LEAST_WEIGHTS", 1)
    folder = open_model(written(tiny_llama, tmp_path / "q", word))
    options = {"device": CPU, "dtype": "float32", "keep_packed": True}
    ours = load_ready(packed(tiny_llama, word), Console.silent(), **options)
    theirs = load_ready(folder, Console.silent(), **options)
    kinds = [type(each) for each in ours.modules()]
    assert kinds == [type(each) for each in theirs.modules()]
    kernels = word.endswith("bit") and library.library() is not None
    assert kinds.count(KernelLinear) == (14 if kernels else 0)
    assert torch.equal(logits(ours), logits(theirs))


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("gpt2", {"n_embd": 64}),  # which stores weights the other way round
        ("qwen2_moe", {}),
        ("gpt_oss", {}),  # whose experts are in one tensor
        ("bert", {}),
        ("t5", {"d_model": 64, "d_kv": 16, "num_heads": 4, "d_ff": 128}),
    ],
)
@pytest.mark.parametrize("word", ["nf4", "8bit"])
def test_families(tmp_path, model_type, changes, word):
    source = tmp_path / "dense"
    save_model(tiny_model(model_type, **changes), source)
    model = load_model(packed(source, word), task=None)
    assert packed_linears(model)
    dense = [f"^{re.escape(name)}$" for name in dense_linears(model)]
    stored = load_model(written(source, tmp_path / "q", word, exclude=dense), task=None)
    found, expected = model.state_dict(), stored.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def dense_linears(model) -> list[str]:
    """Those of the blocks."""
    inside = [f"{walk.blocks}." for walk in model.walks]
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name.startswith(tuple(inside))
    ]


def test_linears_that_do_not_fit_stay_dense_and_it_is_said(tmp_path, tiny_tokenizer, capsys):
    source = make_tiny_llama(tmp_path / "odd", tiny_tokenizer, intermediate_size=80)
    model = load_model(load_in(open_model(source), "4bit", Console()))
    assert len(packed_linears(model)) == 2 * 4
    assert "6 linear layers stay dense: model.layers.0.mlp." in capsys.readouterr().err
    weights = load_model(source).state_dict()
    assert torch.equal(
        model.get_parameter(name := "model.layers.1.mlp.up_proj.weight"), weights[name]
    )
    exact = logits(load_model(source))
    assert 0 < (logits(model) - exact).norm() < 0.5 * exact.norm()


def test_a_model_of_which_nothing_fits_is_refused(tmp_path, tiny_tokenizer):
    source = make_tiny_llama(
        tmp_path / "odd", tiny_tokenizer, hidden_size=48, intermediate_size=80, head_dim=12
    )
    with pytest.raises(UsageError, match=r"no linear layer can be loaded so: model\.layers\.0"):
        packed(source, "4bit")


def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, tiny_llama):
    model = load_model(tiny_llama)
    name = "model.layers.1.mlp.up_proj.weight"
    model.get_parameter(name).data[3, 4] = float("nan")
    save_model(model, tmp_path / "nan")
    with pytest.raises(WorkError, match=f"{name}.*holds NaN|holds NaN.*{name}"):
        load_model(packed(tmp_path / "nan", "4bit"))


@pytest.fixture(scope="module")
def quantized(tmp_path_factory, tiny_llama):
    return written(tiny_llama, tmp_path_factory.mktemp("quantized") / "q", "4bit")


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "MODEL", "a class"],
        ["eval", "MODEL", "--data", "TEXT"],
        ["benchmark", "MODEL"],
    ],
)
def test_a_quantized_checkpoint_is_refused_by_what_it_is(quantized, text_file, capsys, words):
    places = {"MODEL": str(quantized), "TEXT": str(text_file)}
    words = [places.get(word, word) for word in words]
    assert command([*words, "--load-in", "nf4", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["what"] == "the checkpoint is quantized already (gptq, 4 bits), and is loaded so"
    assert error["where"] == f"{quantized}/config.json: quantization_config"


def test_the_command_line_says_what_there_is(tiny_llama, capsys):
    assert command(["generate", str(tiny_llama), "a", "--load-in", "5bit"]) == 2
    assert "8bit" in capsys.readouterr().err


def result(capsys, *words: object) -> dict:
    capsys.readouterr()
    assert command([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("word", ["4bit", "nf4", "int8"])
def test_generate_writes_what_the_folder_writes(tiny_llama, tmp_path, capsys, word):
    folder = written(tiny_llama, tmp_path / "q", word)
    words = ["A class", "--max-new-tokens", 12, "--dtype", "float32"]
    found = result(capsys, "generate", tiny_llama, *words, "--load-in", word)
    assert found["load_in"] == word
    assert found["token_ids"] == result(capsys, "generate", folder, *words)["token_ids"]
    assert load(tiny_llama, load_in=word).model.config.quantization is not None


@pytest.mark.parametrize("word", ["2bit", "nf4"])
def test_eval_measures_what_the_folder_measures(tiny_llama, text_file, tmp_path, capsys, word):
    folder = written(tiny_llama, tmp_path / "q", word)
    words = ["--data", text_file, "--reference", tiny_llama]
    found = result(capsys, "eval", tiny_llama, *words, "--load-in", word)
    expected = result(capsys, "eval", folder, *words)
    assert found["load_in"] == word and expected["load_in"] is None
    for key in ("loss", "kl_divergence", "reference_perplexity"):
        assert found[key] == pytest.approx(expected[key], rel=1e-5)
    assert found["kl_divergence"] > 1e-3


def test_an_evaluation_keeps_it_packed(tiny_llama):
    options = {"device": CPU, "many_rows": True}
    model = load_ready(packed(tiny_llama, "4bit"), Console.silent(), keep_packed=True, **options)
    assert len(packed_linears(model)) == 14
    assert not packed_linears(load_ready(packed(tiny_llama, "4bit"), Console.silent(), **options))


def test_what_no_kernel_runs_is_unpacked_at_each_step_and_it_is_said(
    tiny_llama, monkeypatch, capsys
):
    monkeypatch.setenv(library.VARIABLE, "off")
    model = load_ready(
        packed(tiny_llama, "3bit"), Console(), device=CPU, dtype="float32", keep_packed=True
    )
    assert len(packed_linears(model)) == 14
    assert "no kernel runs 14 packed layers here" in capsys.readouterr().err


def test_benchmark_measures_it(tiny_llama, capsys):
    words = ["benchmark", tiny_llama, "--prompt-tokens", 4, "--new-tokens", 2, "--repeats", 1]
    words += ["--case", "decode", "--rounds", 1]
    (row,) = result(capsys, *words, "--load-in", "nf4")["rows"]
    assert row["load_in"] == "nf4" and not row["unpacked"]
    assert row["weight_bytes"] == packed(tiny_llama, "nf4").nbytes < open_model(tiny_llama).nbytes


def test_weights_that_are_packed_for_the_kernels_are_not_called_unpacked(
    tmp_path, tiny_tokenizer, capsys
):
    wide = make_tiny_llama(tmp_path / "wide", tiny_tokenizer, intermediate_size=32_000)
    words = ["benchmark", wide, "--prompt-tokens", 4, "--new-tokens", 2, "--repeats", 1]
    words += ["--case", "decode", "--rounds", 1]
    (row,) = result(capsys, *words, "--load-in", "4bit")["rows"]
    assert not row["unpacked"]


GROWTH = """
import sys
from tests.convert.memory import peak_growth
from tfcli.checkpoints.folder import open_model
from tfcli.console import Console
from tfcli.quantize.load_in import load_in
from tfcli.ready import load_ready
import torch

def load(source):
    view = load_in(open_model(source), sys.argv[3], Console.silent())
    load_ready(view, Console.silent(), device=torch.device("cpu"), keep_packed=True)

load(sys.argv[1])  # imports, and what torch keeps at its first use
print(peak_growth(lambda: load(sys.argv[2])))
"""


@pytest.mark.parametrize("word", ["8bit", "4bit", "nf4", "int8"])
def test_the_dense_model_is_never_in_memory(tiny_llama, large, word):
    words = [str(tiny_llama), str(large), word]
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, *words], capture_output=True, text=True, check=True
    )
    checkpoint = open_model(large)
    bound = packed(large, word).nbytes + 4 * checkpoint.largest + SLACK  # two tensors in float32
    assert bound < checkpoint.nbytes, "the checkpoint is too small to tell"
    assert int(done.stdout) < bound, f"{int(done.stdout) / 1e6:.0f} MB of {bound / 1e6:.0f}"


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """202 MB in bfloat16."""
    config = {
        "model_type": "llama",
        "vocab_size": 320,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 6,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "max_position_embeddings": 64,
    }
    folder = tmp_path_factory.mktemp("large") / "dense"
    save_model(initialize(build(read_config(config)), dtype=torch.bfloat16), folder)
    return folder
