"""`tfcli quantize --dry-run`: nothing is written, and what is foreseen is what comes."""

import json
import subprocess
import sys

import pytest
import torch

from tests.checkpoints.gguf.folders import write_folder
from tests.held import Held
from tests.quantize.test_gguf import WIDE
from tests.quantize.test_run import LLAMA, dense, gptq_options, text, write_checkpoint
from tfcli.checkpoints.folder import load_model
from tfcli.commands.app import main
from tfcli.console import Console
from tfcli.models.walks import linears_of
from tfcli.quantize.memory import FIXED_BYTES
from tfcli.quantize.run import run
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.job import Job
from tfcli.units import format_bytes

__all__ = ["dense", "text"]

WAYS = {
    "rtn": {"bits": 3},
    "rtn, mlx": {"layout": "mlx"},
    "rtn, compressed-tensors": {"bits": 8, "layout": "compressed-tensors", "exclude": ["v_proj"]},
    "gptq": {"method": "gptq", "overrides": ["down_proj=8bit"]},
    "gptq, head": {"method": "gptq", "head": "8bit:64"},
    "awq": {"method": "awq"},
    "bnb": {"method": "bnb", "group_size": None, "double_quant": True},
    "hqq": {"method": "hqq", "bits": 2},
    "fp8": {"method": "fp8", "group_size": None},
}


def foreseen(dense, **options):
    return run(QuantizeSpec(model=str(dense), dry_run=True, **options), Job(Console()))


@pytest.mark.parametrize("way", WAYS)
def test_sizes_and_outcomes_are_foreseen(dense, text, tmp_path, way):
    options = {"group_size": 32} | WAYS[way]
    if options.get("method") in ("gptq", "awq"):
        options |= gptq_options(text) | {"samples": 8, "method": options["method"]}
    options = {key: value for key, value in options.items() if value is not None}
    plan = foreseen(dense, **{"method": "rtn"} | options)
    assert plan.dry_run and not plan.files
    (tmp_path / "q").mkdir()
    spec = {"model": str(dense), "output": str(tmp_path / "q"), "method": "rtn"} | options
    made = run(QuantizeSpec(**spec), Job(folder=tmp_path / "q"))
    same = {"bytes_after", "bits_per_weight", "quantized", "kept", "dropped", "bits", "layout"}
    assert plan.model_dump(include=same) == made.model_dump(include=same)
    both = [
        {one.name: (one.outcome, one.bits, one.group_size, one.bytes) for one in each.tensors}
        for each in (plan, made)
    ]
    assert both[0] == both[1]


def test_the_types_of_a_gguf_file_are_foreseen(tmp_path):
    write_folder(tmp_path / "dense", "llama", **WIDE)
    options = {"method": "rtn", "layout": "gguf", "gguf_type": "Q3_K_M"}
    plan = foreseen(tmp_path / "dense", **options)
    (tmp_path / "q").mkdir()
    spec = QuantizeSpec(model=str(tmp_path / "dense"), output=str(tmp_path / "q"), **options)
    made = run(spec, Job(Console(), tmp_path / "q"))
    assert {t.name: t.bytes for t in plan.tensors} == {t.name: t.bytes for t in made.tensors}


@pytest.fixture
def tfcli(capsys, monkeypatch):
    """Calls the command line: exit code, standard output and standard error.

    It sets variables for the processes that it starts, which later tests are not to have.
    """
    for name in ("PYTHONSAFEPATH", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that it is put back

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        return ended.value.code, *capsys.readouterr()

    return call


def test_nothing_is_written_and_no_output_is_needed(tfcli, dense, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = tfcli("quantize", dense, "--dry-run", "--quiet", "--json")
    assert (code, json.loads(out)["dry_run"]) == (0, True)
    plan = foreseen(dense, method="gptq")
    assert json.loads(out)["peak_bytes"] == plan.peak_bytes
    assert tfcli("quantize", dense, tmp_path / "q", "--dry-run")[0] == 0
    assert sorted(tmp_path.rglob("*")) == before
    code, _, said = tfcli("quantize", dense)
    assert code == 2 and "output is missing: name the folder to write" in said


def test_what_would_be_refused_is_refused(tfcli, dense):
    code, _, said = tfcli("quantize", dense, "--dry-run", "--exclude", "nothing")
    assert code == 2 and "matches no linear" in said


def test_of_a_budget_the_bytes_are_told(tfcli, dense):
    budget = ("--group-size", "32", "--target-bits", "4")
    code, out, said = tfcli("quantize", dense, "--dry-run", *budget, "--json")
    assert code == 0 and json.loads(out)["budget"] is None
    weights = sum(linear.weight.numel() for linear in linears_of(load_model(dense)).values())
    assert f"the linears will take {format_bytes(4 * weights // 8)} at most" in said


GROWTH = """
import json, sys
from tests.convert.memory import peak_growth
from tfcli.console import Console
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.execute import execute

warm, model, output, options = sys.argv[1:4] + [json.loads(sys.argv[4])]
execute(QuantizeSpec(model=warm, output=output + " warm", **options), Console.silent())
spec = QuantizeSpec(model=model, output=output, **options)
print(peak_growth(lambda: execute(spec, Console.silent())))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Matrices that are large beside all else that a process holds."""
    wide = LLAMA | {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 2}
    return write_checkpoint(tmp_path_factory.mktemp("dry") / "large", wide)


def memory_options(text, method):
    options = {"method": method, "group_size": 32}
    if method == "rtn":
        return options
    return options | gptq_options(text) | {"samples": 16, "device": "cpu", "method": method}


@pytest.mark.parametrize("method", ["rtn", "gptq", "awq"])
def test_memory_stays_below_what_is_foreseen(dense, large, text, tmp_path, method):
    options = memory_options(text, method)
    words = [str(dense), str(large), str(tmp_path / "q"), json.dumps(options)]
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, *words], capture_output=True, text=True, check=True
    )
    plan, grown = foreseen(large, **options), int(done.stdout)
    assert plan.peak_bytes - plan.tensor_bytes >= FIXED_BYTES
    assert plan.tensor_bytes / 6 < grown < plan.peak_bytes


@pytest.mark.parametrize(
    ("method", "width", "least", "most"), [("rtn", 1536, 0.8, 1.5), ("gptq", 256, 0.6, 1)]
)
def test_tensors_take_what_is_foreseen_of_them(
    text, tmp_path, method, width, least, most, monkeypatch
):
    """Weight by weight it is an estimate, from blocks on a bound that a run comes near to."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # what other threads make is not seen
    wide = LLAMA | {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 1}
    dense = write_checkpoint(tmp_path / "dense", wide)
    options = memory_options(text, method)
    (tmp_path / "q").mkdir()
    spec = QuantizeSpec(model=str(dense), output=str(tmp_path / "q"), **options)
    with Held() as held:
        run(spec, Job(folder=tmp_path / "q"))
    share = held.most / foreseen(dense, **options).tensor_bytes
    assert least < share < most
