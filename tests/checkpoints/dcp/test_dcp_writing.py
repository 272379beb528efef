"""torch.distributed.checkpoint folders that torch itself and tools on top of it load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
import transformers
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from tests.checkpoints.models import BERT, GPT2, LLAMA, tiny
from tests.convert.memory import SLACK, peak_growth
from tests.models.tiny import tiny_model
from tfcli.checkpoints.container import WriteOptions
from tfcli.checkpoints.containers import find_container, open_checkpoint
from tfcli.checkpoints.dcp import write as writer
from tfcli.checkpoints.folder import save_model
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.io.memory import freed_at_once
from tfcli.checkpoints.plan import Plan, make_plan
from tfcli.console import Console
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.errors import UsageError, WorkError
from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build, initialize
from tfcli.recipe.execute import execute

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def written(source: Path, target: Path, shard: int = 10**9, dtype: str | None = None) -> Plan:
    """`source` as a DCP folder with a config.json, and the plan that it was written by."""
    plan = make_plan(writer.prepare(open_checkpoint(source)), dtype)
    target.mkdir(exist_ok=True)
    writer.write(plan, target, WriteOptions(max_shard_bytes=shard))
    (target / "config.json").write_text(json.dumps(plan.config))
    return plan


def loaded(folder: Path, model: Any) -> dict[str, torch.Tensor]:
    """What `dcp.load` puts into the state of a model of transformers, whose values are lost."""
    state = {name: torch.full_like(value, 7) for name, value in model.state_dict().items()}
    dcp.load({"model": state}, checkpoint_id=folder, no_dist=True)
    return state


def theirs(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("shard", [10**9, 5000], ids=["one file", "several"])
def test_torch_loads_it_into_a_model(tmp_path, shard):
    save_model(tiny(), tmp_path / "hf")
    written(tmp_path / "hf", tmp_path / "dcp", shard)
    files = list(tmp_path.glob("dcp/*.distcp"))
    assert {file.name for file in files} == {f"__{n}_0.distcp" for n in range(len(files))}
    assert (len(files) == 1) == (shard > 5000)
    state = loaded(tmp_path / "dcp", theirs(tmp_path / "hf"))
    expected = open_tensors(tmp_path / "hf")
    assert state.keys() == set(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_our_reader_gives_it_back_bit_for_bit(tmp_path):
    save_model(tiny(dtype=torch.bfloat16), tmp_path / "hf")
    written(tmp_path / "hf", tmp_path / "dcp", 5000)
    assert find_container(tmp_path / "dcp").name == "dcp"
    view = open_checkpoint(tmp_path / "dcp")
    expected = open_tensors(tmp_path / "hf")
    assert list(view.tensors) == list(expected) and not view.unused
    for name in expected:
        assert torch.equal(view.tensors[name].read(), expected[name])
        assert view.tensors[name].how == ""


@pytest.mark.parametrize(
    "model_type", ["mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "deepseek_v3", "gpt_neox"]
)
def test_what_transformers_calls_otherwise_in_memory_goes_there_and_comes_back(
    tmp_path, model_type
):
    """Experts are one tensor a layer there, and on the hub one each."""
    save_model(tiny_model(model_type), tmp_path / "hf")
    written(tmp_path / "hf", tmp_path / "dcp", dtype="F32")
    model = theirs(tmp_path / "hf")
    state = loaded(tmp_path / "dcp", model)
    assert state.keys() != set(open_tensors(tmp_path / "hf"))
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    back, expected = open_checkpoint(tmp_path / "dcp"), open_tensors(tmp_path / "hf")
    assert back.tensors.keys() == set(expected)
    assert all(torch.equal(back.weights[name], expected[name]) for name in expected)


def test_another_type(tmp_path):
    save_model(tiny(), tmp_path / "hf")
    written(tmp_path / "hf", tmp_path / "dcp", dtype="BF16")
    expected = open_tensors(tmp_path / "hf")
    for tensor in open_checkpoint(tmp_path / "dcp"):
        assert torch.equal(tensor.read(), expected[tensor.name].bfloat16())


def test_a_tied_tensor_has_both_names_and_its_bytes_once(tmp_path):
    save_model(tiny(tie_word_embeddings=True), tmp_path / "hf")
    save_model(tiny(tie_word_embeddings=False), tmp_path / "apart")
    plan = written(tmp_path / "hf", tmp_path / "dcp")
    written(tmp_path / "apart", tmp_path / "apart-dcp")
    model = theirs(tmp_path / "hf")
    state = loaded(tmp_path / "dcp", model)
    assert torch.equal(state["lm_head.weight"], model.lm_head.weight)
    assert torch.equal(state["model.embed_tokens.weight"], model.lm_head.weight)
    sizes = [(tmp_path / name / "__0_0.distcp").stat().st_size for name in ("dcp", "apart-dcp")]
    assert sizes[1] - sizes[0] > 61 * 32 * 4
    # The one that is tied in what is read is the one that was not written.
    again = make_plan(open_checkpoint(tmp_path / "dcp"), None)
    assert {item.tensor.name for item in again.written} == {t.tensor.name for t in plan.written}
    assert [item.tensor.name for item in again.items if item.action == "tied"] == ["lm_head.weight"]


@pytest.mark.parametrize("settings", [GPT2, BERT], ids=["gpt2", "bert"])
def test_the_command_writes_checks_and_reads_it_again(tmp_path, settings):
    """Both are tied: what is read has names that were not to be written, of equal tensors."""
    config = config_from_recipe(settings)
    task = "masked-lm" if settings is BERT else "causal-lm"
    save_model(initialize(build(config, task)), tmp_path / "hf")
    expected = open_tensors(tmp_path / "hf")
    for source, target, to in (("hf", "dcp", "dcp"), ("dcp", "again", "hf")):
        paths = [str(tmp_path / name) for name in (source, target)]
        spec = ConvertSpec(source=paths[0], output=paths[1], to=to)
        result = execute(spec, Console.silent()).result
        assert isinstance(result, ConvertResult) and result.verified == len(expected)
    again = open_tensors(tmp_path / "again")
    assert set(again) == set(expected)
    assert all(torch.equal(again[name], expected[name]) for name in expected)


def test_what_the_hub_calls_gpt2_s_tensors(tmp_path):
    """GPT-2 on the hub has no prefix, and masks that nothing loads."""
    save_model(tiny(GPT2), tmp_path / "hf")
    held = open_tensors(tmp_path / "hf")
    bare = {name.removeprefix("transformer."): held[name].clone() for name in held}
    bare["h.0.attn.bias"] = torch.ones(1, 1, 32, 32)
    pending = [PendingTensor.of(name, value) for name, value in bare.items()]
    write_safetensors(tmp_path / "hf/model.safetensors", pending)
    plan = written(tmp_path / "hf", tmp_path / "dcp")
    assert list(plan.view.unused) == ["h.0.attn.bias"]
    model = theirs(tmp_path / "hf")
    state = loaded(tmp_path / "dcp", model)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert "transformer.wte.weight" in state


def test_torch_s_and_accelerate_s_tools_unpack_it(tmp_path):
    from accelerate.utils import merge_fsdp_weights

    save_model(tiny(), tmp_path / "hf")
    # The name that transformers' Trainer and accelerate look for.
    folder = tmp_path / "checkpoint-1/pytorch_model_fsdp_0"
    folder.parent.mkdir()
    written(tmp_path / "hf", folder)
    expected = open_tensors(tmp_path / "hf")
    dcp_to_torch_save(folder, tmp_path / "whole.pt")
    found = torch.load(tmp_path / "whole.pt", weights_only=True)
    assert found.keys() == {"model"} and found["model"].keys() == set(expected)
    merge_fsdp_weights(str(folder), str(tmp_path / "merged"))
    merged = open_tensors(tmp_path / "merged")
    assert set(merged) == set(expected)
    assert all(torch.equal(merged[name], expected[name]) for name in expected)


@pytest.mark.interop
def test_two_processes_load_it_into_fully_sharded_weights(tmp_path):
    save_model(tiny(), tmp_path / "hf")
    written(tmp_path / "hf", tmp_path / "dcp", 5000)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = Path(__file__).with_name("load_sharded.py")
    done = subprocess.run(
        [*torchrun, str(script), str(tmp_path / "hf"), str(tmp_path / "dcp")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]


def other(folder: Path, **tensors: torch.Tensor) -> Path:
    """A checkpoint of a family that is not known."""
    folder.mkdir()
    pending = [PendingTensor.of(name, value) for name, value in tensors.items()]
    write_safetensors(folder / "model.safetensors", pending)
    (folder / "config.json").write_text('{"model_type": "other"}')
    return folder


def test_every_kind_of_tensor_of_a_family_that_is_not_known(tmp_path):
    source = other(
        tmp_path / "in",
        scalar=torch.tensor(2.5),
        empty=torch.empty(0, 3),
        ids=torch.arange(5),
        mask=torch.tensor([True, False]),
        eight=torch.ones(3).to(torch.float8_e4m3fn),
    )
    written(source, tmp_path / "dcp")
    view, expected = open_checkpoint(tmp_path / "dcp"), open_tensors(source)
    assert view.tensors.keys() == set(expected)
    for name, value in expected.items():
        found = view.tensors[name].read()
        assert found.dtype == value.dtype and torch.equal(found.double(), value.double())
    state = {"model": {name: torch.zeros_like(value) for name, value in expected.items()}}
    dcp.load(state, checkpoint_id=tmp_path / "dcp", no_dist=True)
    assert state["model"]["scalar"] == 2.5 and torch.equal(state["model"]["ids"], torch.arange(5))


def test_packed_values_are_refused(tmp_path):
    folder = other(tmp_path / "in", w=torch.zeros(2, 2, dtype=torch.float4_e2m1fn_x2))
    with pytest.raises(UsageError, match="'w' is packed as F4"):
        writer.prepare(open_checkpoint(folder))


def test_a_folder_that_is_not_whole_has_no_metadata(tmp_path):
    source = other(tmp_path / "in", a=torch.ones(2), b=torch.full((2,), 1e38))
    (tmp_path / "dcp").mkdir()
    plan = make_plan(writer.prepare(open_checkpoint(source)), "F16")
    with pytest.raises(WorkError, match="'b': 1e\\+38 is too large for float16"):
        writer.write(plan, tmp_path / "dcp", WriteOptions(max_shard_bytes=4))
    assert [path.name for path in (tmp_path / "dcp").iterdir()] == ["__0_0.distcp"]


def test_memory_is_that_of_one_tensor(tmp_path):
    config = {**LLAMA, "hidden_size": 512, "intermediate_size": 4096, "num_hidden_layers": 8}
    model = tiny({**config, "vocab_size": 64})
    save_model(model, tmp_path / "hf")
    largest, total = 512 * 4096 * 4, sum(p.nbytes for p in model.parameters())
    del model
    written(tmp_path / "hf", tmp_path / "warm", dtype="BF16")

    def work() -> None:
        written(tmp_path / "hf", tmp_path / "dcp", dtype="BF16")

    with freed_at_once():  # as in a conversion
        growth = peak_growth(work)
    assert total > 4 * (2 * largest + SLACK)
    assert growth < 2 * largest + SLACK, f"{growth / 1e6:.0f} MB of {total / 1e6:.0f} MB"
