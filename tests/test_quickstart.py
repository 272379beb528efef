"""The shipped quickstart, end to end on a tiny model: every step real, then nothing done twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TINY = {
    "train.config.hidden_size": 64,
    "train.config.intermediate_size": 128,
    "train.config.num_hidden_layers": 2,
    "train.config.num_attention_heads": 2,
    "train.config.num_key_value_heads": 2,
    "train.max_steps": 30,
    "train.schedule.warmup_steps": 2,
    "train.batch_size": 4,
    "train.bpe_dropout": 0,
    "train.sequence_length": 64,
    "train.validate_every": 10,
    "train.checkpoint_every": 5,
    "gptq-4bit.samples": 16,
    "gptq-3bit.samples": 16,
    "speed.repeats": 1,
    "speed.prompt_tokens": 16,
    "speed.new_tokens": 4,
    "greedy.max_new_tokens": 4,
    "sampled.max_new_tokens": 4,
}


def command(output: Path, *more: str) -> list[str]:
    sets = [part for key, value in TINY.items() for part in ("--set", f"steps.{key}={value}")]
    return [
        sys.executable, "-m", "tfcli.commands", "run", "quickstart", "--output", str(output),
        *sets, *more,
    ]  # fmt: skip


def run(output: Path, *more: str) -> dict:
    done = subprocess.run(command(output, *more, "--json"), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, dict]:
    """A run that was killed inside `train` and run again to its end."""
    output = tmp_path_factory.mktemp("quickstart") / "out"
    process = subprocess.Popen(
        command(output),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not list(output.glob(".train.partial/checkpoint-*")) and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (output / "train").exists(), "the kill came too late to interrupt the training"
    return output, run(output)


def results(answer: dict) -> dict[str, dict]:
    return {step["step"]: step["result"] for step in answer["steps"]}


def test_an_interrupted_run_goes_on_inside_train(finished):
    output, answer = finished
    reused = {step["step"] for step in answer["steps"] if step["reused"]}
    assert reused == {"data", "tokenizer"}
    train = results(answer)["train"]
    assert train["resumed_from"] % TINY["train.checkpoint_every"] == 0
    lines = (output / "train" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 31))
    hidden = [path.name for path in output.iterdir() if path.name.startswith(".")]
    assert hidden == [".recipes.json"]


def test_every_model_is_measured_on_the_same_windows(finished):
    found = results(finished[1])
    evals = {name: found[name] for name in found if name.endswith("-eval")}
    assert len(evals) == 5
    assert (
        len({(e["data_sha256"], e["window"], e["stride"], e["tokens"]) for e in evals.values()})
        == 1
    )
    dense = evals.pop("dense-eval")
    assert set(dense["compression"]) == {"gzip", "xz", "xz_primed"}
    assert all(
        e["reference_perplexity"] == pytest.approx(dense["perplexity"]) for e in evals.values()
    )
    for bits in (3, 4):
        gptq, rtn = (evals[f"{method}-{bits}bit-eval"] for method in ("gptq", "rtn"))
        assert 0 < gptq["kl_divergence"] < rtn["kl_divergence"]


def test_the_report_shows_all_five_models_and_its_path(finished):
    output, answer = finished
    report = results(answer)["report"]
    assert (report["models"], report["warnings"]) == (5, [])
    page = (output / "report" / "report.html").read_text()
    for name in ("RTN 4-bit", "RTN 3-bit", "GPTQ 4-bit", "GPTQ 3-bit", "dense"):
        assert name in page


def test_a_finished_recipe_does_nothing_again_and_ends_with_the_report(finished):
    output, _ = finished
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    done = subprocess.run(command(output), capture_output=True, text=True, check=True)
    assert "0 of 16 steps run" in done.stderr
    assert done.stdout.splitlines()[-1] == str(output / "report" / "report.html")
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()} == before


def test_a_changed_step_runs_again_with_those_that_read_from_it(finished):
    output, _ = finished
    answer = run(output, "--set", "steps.gptq-3bit.damping=0.02")
    again = {step["step"] for step in answer["steps"] if not step["reused"]}
    assert again == {"gptq-3bit", "gptq-3bit-eval", "report"}
