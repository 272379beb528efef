"""`tfcli benchmark` from the command line. What it measures is checked, not how fast it is."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.conftest import make_tiny_llama
from tests.models.tiny import tiny_model
from tfcli.benchmark.memory import peak_memory, private_memory
from tfcli.checkpoints.folder import save_model
from tfcli.commands.app import run


@pytest.fixture
def benchmark(capsys):
    def call(*words, code=0):
        capsys.readouterr()
        assert run(["benchmark", *map(str, words), "--json", "--repeats", "1"]) == code
        return json.loads(capsys.readouterr().out)

    return call


def test_every_model_has_a_row_of_its_own(benchmark, tiny_llama, tiny_tokenizer, tmp_path):
    wide = make_tiny_llama(tmp_path / "wide", tiny_tokenizer, intermediate_size=200_000)
    result = benchmark(tiny_llama, wide, "--new-tokens", 4, "--threads", 1)
    assert result["schema"] == "tfcli.benchmark/1"
    assert [row["model"] for row in result["rows"]] == [str(tiny_llama), str(wide)]
    # Left out, the prompt is as long as both models can take.
    assert (result["prompt_tokens"], result["new_tokens"], result["threads"]) == (124, 4, 1)
    small, large = result["rows"]
    for row in (small, large):
        assert row["dtype"] == "float32" and row["device_memory_bytes"] is None
        assert min(row["load_seconds"], row["prefill_tokens_per_second"]) > 0
        assert row["decode_tokens_per_second"] > 0
        assert row["first_token_seconds"] > row["load_seconds"]
        assert row["peak_memory_bytes"] > row["private_memory_bytes"] > 0
    grown = large["weight_bytes"] - small["weight_bytes"]
    assert grown == 2 * 3 * 64 * (200_000 - 128) * 4
    # The second process holds its weights, and nothing is left of the first one's.
    assert large["peak_memory_bytes"] - small["peak_memory_bytes"] > 0.9 * grown


def test_the_dtype_is_the_one_asked_for(benchmark, tiny_llama):
    row = benchmark(tiny_llama, "--prompt-tokens", 4, "--new-tokens", 2, "--dtype", "bfloat16")
    assert row["rows"][0]["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        (("--prompt-tokens", 120, "--new-tokens", 9), "prompt_tokens"),
        (("--new-tokens", 128), "new_tokens"),
    ],
)
def test_more_tokens_than_positions_are_refused(benchmark, tiny_llama, flags, where):
    error = benchmark(tiny_llama, *flags, code=2)["error"]
    assert "has 128 positions" in error["what"]
    assert error["where"] == where


def test_a_model_without_a_limit_takes_any_prompt(benchmark, tmp_path):
    """RWKV was trained on texts of some length; its state does not grow."""
    save_model(tiny_model("rwkv", context_length=16), tmp_path / "m")
    result = benchmark(tmp_path / "m", "--prompt-tokens", 40, "--new-tokens", 2)
    assert result["rows"][0]["prefill_tokens_per_second"] > 0


@pytest.mark.parametrize(
    ("model_type", "what"),
    [("t5", "t5 reads its prompt with an encoder"), ("bert", "bert cannot generate text")],
)
def test_a_model_that_continues_no_text_is_refused(benchmark, tmp_path, model_type, what):
    save_model(tiny_model(model_type), tmp_path / "m")
    assert what in benchmark(tmp_path / "m", code=2)["error"]["what"]


def test_no_model_is_refused(benchmark):
    assert "'models' is required" in benchmark(code=2)["error"]["what"]


def test_what_the_process_says_of_a_broken_model_is_passed_on(benchmark, tiny_llama, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_llama, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    error = benchmark(broken, "--new-tokens", 2, code=1)["error"]
    assert "model.safetensors" in error["where"]


def test_a_process_that_dies_is_an_error(benchmark, tiny_llama, monkeypatch):
    killed = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    real = subprocess.run
    monkeypatch.setattr("subprocess.run", lambda command, **rest: real(killed, **rest))
    error = benchmark(tiny_llama, "--new-tokens", 2, code=1)["error"]
    assert "signal 9" in error["what"] and "memory" in error["fix"]


def test_a_file_in_the_current_folder_is_not_imported(benchmark, tiny_llama, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    benchmark(tiny_llama, "--prompt-tokens", 4, "--new-tokens", 2)


def test_the_table_has_a_line_a_model(capsys, tiny_llama, tmp_path):
    command = ["benchmark", str(tiny_llama), "--output", str(tmp_path / "out"), "--repeats", "1"]
    assert run([*command, "--prompt-tokens", "8", "--new-tokens", "2", "-q"]) == 0
    shown = capsys.readouterr().out
    assert "tok/s" in shown and "prompt of 8 tokens" in shown
    assert (tmp_path / "out" / "run.json").is_file()


def test_memory_is_that_of_this_process():
    before = peak_memory()
    held = bytearray(b"x" * 200_000_000)
    assert peak_memory() >= private_memory() >= len(held)
    assert peak_memory() >= before
