"""`tfcli benchmark` from the command line. What it measures is checked, not how fast it is."""

import csv
import json
import shutil
import subprocess
import sys

import pytest

from tests.benchmark.made import Clock
from tests.conftest import make_tiny_llama
from tests.models.tiny import tiny_model
from tfcli.benchmark.limits import Reading
from tfcli.checkpoints.folder import save_model
from tfcli.commands.app import run

ONCE = ("--repeats", 1, "--rounds", 1, "--threads", 1)


@pytest.fixture
def benchmark(capsys):
    def call(*words, code=0):
        capsys.readouterr()
        assert run(["benchmark", *map(str, words), "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def clock(monkeypatch):
    """No process is started; every case takes a tenth of a second."""
    made = Clock()
    monkeypatch.setattr("tfcli.benchmark.run.measure_apart", made)
    reading = Reading("a loop", lambda: 1e10)
    monkeypatch.setattr("tfcli.benchmark.limits.reader", lambda *which: reading)
    monkeypatch.setattr("tfcli.benchmark.limits.product_rate", lambda *which: 1e11)
    return made


def test_every_model_is_measured_in_a_process_of_its_own(
    benchmark, tiny_llama, tiny_tokenizer, tmp_path
):
    wide = make_tiny_llama(tmp_path / "wide", tiny_tokenizer, intermediate_size=200_000)
    result = benchmark(tiny_llama, wide, "--case", "decode", "--new-tokens", 4, *ONCE)
    assert result["schema"] == "tfcli.benchmark/2"
    assert [row["model"] for row in result["rows"]] == [str(tiny_llama), str(wide)]
    small, large = result["rows"]
    for row in (small, large):
        # Left out, the prompt is as long as both models can take.
        assert (row["case"], row["length"], row["new_tokens"]) == ("decode", 124, 4)
        assert row["dtype"] == "float32" and row["device_memory_bytes"] is None
        assert row["seconds"] > 0 and row["tokens_per_second"] == pytest.approx(1 / row["seconds"])
        assert row["peak_memory_bytes"] > row["private_memory_bytes"] > 0
        reading = sum(result["limits"]["bytes_per_second"]) / 2
        assert row["share"] == pytest.approx(row["work"] / row["seconds"] / reading)
        assert row["memory"]["weights"] == row["weight_bytes"]
    grown = large["weight_bytes"] - small["weight_bytes"]
    assert grown == 2 * 3 * 64 * (200_000 - 128) * 4
    assert large["work"] - small["work"] == grown
    # The second process holds its weights, and nothing is left of the first one's.
    assert large["peak_memory_bytes"] - small["peak_memory_bytes"] > 0.9 * grown


def test_others_are_measured_beside_it(benchmark, tiny_llama):
    words = ("--length", 8, "--new-tokens", 3, "--batch-size", 2, "--case", "decode")
    result = benchmark(tiny_llama, *words, "--vs", "transformers", "--vs", "llama.cpp", *ONCE)
    assert [row["side"] for row in result["rows"]] == ["tfcli", "transformers", "llama.cpp"]
    assert all(row["tokens_per_second"] > 0 and row["share"] > 0 for row in result["rows"])
    own, other, cpp = result["rows"]
    assert own["memory"]["weights"] == pytest.approx(other["memory"]["weights"], rel=0.01)
    # 2 layers of 2 heads of 16, keys and values, for 2 texts of the tokens that were read.
    assert other["memory"]["cache"] == 2 * 2 * 2 * 16 * 2 * (8 + 2) * 4
    assert cpp["memory"] is None and cpp["peak_memory_bytes"] < own["peak_memory_bytes"]


def test_rounds_are_interleaved(benchmark, clock, tiny_llama):
    words = ("--case", "load", "--case", "prefill", "--batch-size", 1, "--batch-size", 4)
    result = benchmark(tiny_llama, *words, "--rounds", 2, "--repeats", 3)
    assert [(t.case, t.batch_size) for t in clock.tasks] == [
        ("load", 1),
        ("prefill", 1),
        ("prefill", 4),
        # The second round begins with another one.
        ("prefill", 1),
        ("prefill", 4),
        ("load", 1),
    ]
    assert [(row["case"], row["batch_size"]) for row in result["rows"]] == [
        ("load", None),
        ("prefill", 1),
        ("prefill", 4),
    ]
    first = result["rows"][1]
    assert [len(times) for times in first["rounds"]] == [3, 3]
    assert first["tokens_per_second"] == pytest.approx(first["length"] / first["seconds"])
    assert len(result["limits"]["bytes_per_second"]) == 3


def test_what_is_written(benchmark, clock, tiny_llama, tmp_path):
    words = ("--case", "decode", "--length", 8, "--length", 16, "--log-axes")
    benchmark(tiny_llama, *words, "--rounds", 1, "--output", tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "run.json",
        "benchmark.json",
        "benchmark.csv",
        "benchmark.md",
        "decode-length.svg",
        "decode-length-memory.svg",
    }
    with (tmp_path / "out" / "benchmark.csv").open() as file:
        assert [(line["case"], line["length"]) for line in csv.DictReader(file)] == [
            ("decode", "8"),
            ("decode", "16"),
        ]


def test_a_slower_row_ends_with_exit_code_1_and_is_kept(
    benchmark, clock, tiny_llama, tmp_path, monkeypatch
):
    words = (tiny_llama, "--case", "decode", "--length", 8, "--rounds", 4)
    benchmark(*words, "--output", tmp_path / "old")
    old, summary = tmp_path / "old" / "benchmark.json", tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert not benchmark(*words, "--baseline", old)["compared"][0]["regressed"]
    clock.seconds *= 1.2
    assert not benchmark(*words, "--baseline", old, "--fail-on", "30%")["compared"][0]["regressed"]
    result = benchmark(*words, "--baseline", old, "--output", tmp_path / "new", code=1)
    (compared,) = result["compared"]
    assert compared["regressed"] and compared["change"] == pytest.approx(0.2, abs=0.02)
    assert compared["chance"] == pytest.approx(1 / 70)  # of all orders of 4 and 4
    assert json.loads((tmp_path / "new" / "benchmark.json").read_text()) == result
    assert summary.read_text().startswith("before\n")
    assert "1 of 1 rows are slower" in summary.read_text()
    # What was measured is not measured again, and says the same.
    count = len(clock.tasks)
    benchmark(*words, "--baseline", old, "--output", tmp_path / "new", code=1)
    assert len(clock.tasks) == count


def test_a_recipe_ends_at_a_slower_step(clock, tiny_llama, tmp_path, capsys):
    step = {"command": "benchmark", "models": [str(tiny_llama)], "case": "decode", "length": 8}
    recipe = {"name": "r", "output": str(tmp_path / "r"), "steps": {"a": {**step, "rounds": 4}}}
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    assert run(["run", str(tmp_path / "r.yaml")]) == 0
    old = shutil.copy(tmp_path / "r" / "a" / "benchmark.json", tmp_path / "old.json")
    recipe["steps"]["a"] |= {"rounds": 4, "baseline": str(old)}
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    clock.seconds *= 2
    capsys.readouterr()
    assert run(["run", str(tmp_path / "r.yaml"), "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["step"] == "a" and "slower" in error["what"]
    assert (tmp_path / "r" / "a" / "benchmark.json").is_file()


@pytest.mark.parametrize(
    ("words", "said", "where"),
    [
        (("--length", 120, "--new-tokens", 9), "has 128 positions", "length"),
        (("--new-tokens", 128), "has 128 positions", "new_tokens"),
        (("--case", "train", "--length", 129), "has 128 positions", "length"),
        (("--batch-size", 10**9), "of keys and values", "batch_size"),
        (("--case", "decod"), "'decode'", "case"),
        (("--vs", "llamacpp"), "'llama.cpp'", "vs"),
        (("--length", 8, "--length", 8), "8 stands there twice", "length"),
        (("--case", "load", "--new-tokens", 4), "new_tokens has no effect", ""),
        (("--case", "train", "--cache", "static"), "cache has no effect", ""),
        (("--case", "import", "--repeats", 2), "repeats has no effect", ""),
        (("--vs", "transformers", "--load-in", "4bit"), "load_in is tfcli's own", ""),
        (("--vs", "transformers", "--cache", "static"), "with the dynamic cache", ""),
        (("--vs", "llama.cpp", "--case", "train"), "llama.cpp has no case train", "vs"),
        (("--fail-on", "5%"), "fail_on has no effect", "fail_on"),
        (("--log-axes",), "log_axes has no effect", "log_axes"),
        (("--baseline", "MODEL/config.json", "--fail-on", "five"), "no percentage", "fail_on"),
        (("--baseline", "MODEL/config.json"), "it has no schema", "baseline"),
        (("--baseline", "MODEL"), "it is a folder", "baseline"),
        (("--baseline", "MODEL/model.safetensors"), "no result of tfcli benchmark", "baseline"),
    ],
)
def test_what_is_refused_before_anything_runs(benchmark, clock, tiny_llama, words, said, where):
    words = [str(word).replace("MODEL", str(tiny_llama)) for word in words]
    error = benchmark(tiny_llama, *words, code=2)["error"]
    assert said in f"{error['what']} {error['fix']}"
    assert (error["where"] or "").startswith(where)
    assert clock.tasks == []


def test_a_baseline_is_refused_before_a_file_is_made_for_llama_cpp(
    benchmark, clock, tiny_llama, monkeypatch
):
    monkeypatch.setattr("tfcli.benchmark.run.convert", lambda *given: pytest.fail("converted"))
    words = ("--vs", "llama.cpp", "--baseline", tiny_llama / "config.json")
    assert benchmark(tiny_llama, *words, code=2)["error"]["where"] == "baseline"


def test_packed_weights_are_not_trained(benchmark, clock, tiny_llama):
    error = benchmark(tiny_llama, "--case", "train", "--load-in", "4bit", code=2)["error"]
    assert "packed weights are not trained" in error["what"]


def test_what_is_not_installed_is_named_with_its_extra(benchmark, clock, tiny_llama, monkeypatch):
    monkeypatch.setattr("tfcli.benchmark.plan.find_spec", lambda name: None)
    error = benchmark(tiny_llama, "--vs", "transformers", code=2)["error"]
    assert error["fix"] == "pip install 'tfcli[benchmark]'"


def test_a_model_without_a_limit_takes_any_prompt(benchmark, clock, tmp_path):
    """RWKV was trained on texts of some length; its state does not grow."""
    save_model(tiny_model("rwkv", context_length=16), tmp_path / "m")
    benchmark(tmp_path / "m", "--length", 40, "--case", "prefill", "--rounds", 1)
    assert [task.length for task in clock.tasks] == [40]


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
    error = benchmark(broken, "--case", "load", *ONCE, code=1)["error"]
    assert "model.safetensors" in error["where"]


def test_a_process_that_dies_is_an_error(benchmark, tiny_llama, monkeypatch):
    killed = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    real = subprocess.run
    monkeypatch.setattr("subprocess.run", lambda command, **rest: real(killed, **rest))
    error = benchmark(tiny_llama, "--case", "load", *ONCE, code=1)["error"]
    assert "signal 9" in error["what"] and "memory" in error["fix"]


def test_a_file_in_the_current_folder_is_not_imported(benchmark, tiny_llama, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    result = benchmark(tiny_llama, "--case", "import", "--rounds", 1)
    (row,) = result["rows"]
    assert row["seconds"] > 0.1 and row["share"] is None and row["batch_size"] is None


def test_the_table_has_a_line_a_row(clock, capsys, tiny_llama):
    words = ["benchmark", str(tiny_llama), "--case", "decode", "--length", "8", "-q"]
    assert run(words) == 0
    shown = capsys.readouterr().out
    assert "tok/s" in shown and "1 x 8 + 32" in shown and "the machine reads 10.0 GB/s" in shown
    assert "p99" not in shown and "J/token" not in shown
    assert run([*words, "-v"]) == 0
    assert "p99" in capsys.readouterr().out
