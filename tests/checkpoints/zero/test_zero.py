"""DeepSpeed ZeRO folders: those that DeepSpeed wrote, and broken ones made after its format."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.checkpoints.models import LLAMA, tiny, tokens
from tests.convert.memory import assert_bounded
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.containers import find_container, open_checkpoint
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.console import Console
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.errors import WorkError
from tfcli.recipe.execute import execute


def convert(source: Path, output: Path, **options: Any) -> ConvertResult:
    spec = ConvertSpec(source=str(source), output=str(output), **options)
    result = execute(spec, Console.silent()).result
    assert isinstance(result, ConvertResult)
    return result


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders of three processes and the three stages, for a plain and for a tied model.

    Three processes divide no size of the model, so that every weight is filled up.
    """
    folder = tmp_path_factory.mktemp("zero")
    save_model(tiny(), folder / "plain")
    save_model(tiny({**LLAMA, "tie_word_embeddings": True}), folder / "tied")
    script = Path(__file__).with_name("save_zero.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3"]
    for name, stages in (("plain", "123"), ("tied", "23")):
        done = subprocess.run(
            [*torchrun, str(script), str(folder / name), str(folder / f"{name}-zero"), *stages],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr[-10_000:]
    return folder


@pytest.mark.interop
@pytest.mark.parametrize(
    ("model", "stage"),
    [("plain", 1), ("plain", 2), ("plain", 3), ("tied", 2), ("tied", 3)],
    ids=str,
)
def test_weights_are_those_that_deepspeed_rebuilds(trained, tmp_path, model, stage):
    source = trained / f"{model}-zero" / str(stage)
    assert find_container(source).name == "zero"
    view = open_checkpoint(source, Reading(trained / model))
    rebuilt = torch.load(trained / f"{model}-zero/rebuilt{stage}.pt", weights_only=True)
    frozen = {f"model.layers.0.mlp.{name}_proj.weight" for name in ("gate", "up", "down")}
    # DeepSpeed's own script loses what stage 1 does not train; it is in the file all the same.
    assert view.tensors.keys() == rebuilt.keys() | (frozen if stage == 1 else set())
    for name, wanted in rebuilt.items():
        found = view.tensors[name].read()
        assert torch.equal(found, wanted), name
        assert found.dtype == (torch.bfloat16 if name in frozen else torch.float32)
    before = open_tensors(trained / model)
    for name in frozen:
        assert torch.equal(view.tensors[name].read(), before[name].bfloat16())
    assert not torch.equal(view.tensors["model.norm.weight"].read(), before["model.norm.weight"])
    assert view.config["dtype"] == "float32"

    result = convert(source, tmp_path / "out", config_from=str(trained / model), dtype="fp32")
    assert result.tied == (1 if model == "tied" else 0)
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert BUFFER in rebuilt and not info["missing_keys"]
    assert not any("zero" in name for name in result.files)
    with torch.no_grad():
        state = {n: v.float() for n, v in {**rebuilt, **_read(view, frozen)}.items()}
        state.pop(BUFFER)
        ours = load_model(trained / model)
        ours.load_state_dict(state, strict=False)
        assert torch.allclose(theirs(tokens()).logits, ours(tokens()).logits, atol=1e-4)


def _read(view: Any, names: set[str]) -> dict[str, torch.Tensor]:
    return {name: view.tensors[name].read() for name in names}


@pytest.mark.interop
def test_the_folder_of_a_step_and_a_config_one_folder_up(trained, tmp_path):
    source = trained / "plain-zero/2"
    step = open_checkpoint(source / "global_step1", Reading(trained / "plain"))
    whole = open_checkpoint(source, Reading(trained / "plain"))
    assert step.tensors.keys() == whole.tensors.keys()
    with pytest.raises(WorkError, match=r"has a config\.json"):
        open_checkpoint(source)


BUFFER = "model.rotary_emb.inv_freq"
SHAPES = [{"a.weight": (3, 5), "b.weight": (4, 4)}, {"c.bias": (7,)}]


def values() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    found = {n: torch.randn(s, generator=generator) for group in SHAPES for n, s in group.items()}
    return found | {"d.weight": torch.randn(5, generator=generator).bfloat16()}


def step(path: Path, stage: int, world: int = 2) -> Path:
    """A folder as DeepSpeed's format says: `d.weight` is not trained, `e.weight` is `a.weight`."""
    folder = path / "global_step7"
    folder.mkdir(parents=True)
    (path / "latest").write_text("global_step7")
    (path / "config.json").write_text('{"model_type": "other"}')
    state = values()
    shapes = [{n: torch.Size(s) for n, s in group.items()} for group in SHAPES]
    flats: list[list[torch.Tensor]] = [[] for _ in range(world)]
    for group in shapes:
        if stage < 3:
            flat = torch.cat([state[name].flatten() for name in group])
            flat = torch.nn.functional.pad(flat, (0, -len(flat) % (2 * world)))
            for rank, piece in enumerate(flat.chunk(world)):
                flats[rank].append(piece.clone())
        else:
            cut = [_pieces(state[name], world) for name in group]
            for rank in range(world):
                flats[rank].append(torch.cat([pieces[rank] for pieces in cut]))
    for rank in range(world):
        optimizer = {
            "zero_stage": stage,
            "partition_count": world if stage == 3 else [world, world],
            "fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups": flats[rank],
        }
        torch.save(
            {"optimizer_state_dict": optimizer},
            folder / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt",
        )
        frozen = _pieces(state["d.weight"], world)[rank] if stage == 3 else state["d.weight"]
        model = {
            "module": {} if stage == 3 else {n: v.bfloat16() for n, v in state.items()},
            "buffer_names": [],
            "param_shapes": shapes,
            "frozen_param_shapes": {"d.weight": torch.Size([5])},
            "frozen_param_fragments": {"d.weight": frozen},
            "shared_params": {"e.weight": "a.weight"},
        }
        name = f"zero_pp_rank_{rank}_mp_rank_00" if stage == 3 else "mp_rank_00"
        torch.save(model, folder / f"{name}_model_states.pt")
    return path


def _pieces(value: torch.Tensor, world: int) -> list[torch.Tensor]:
    flat = torch.nn.functional.pad(value.flatten(), (0, -value.numel() % world))
    return [piece.clone() for piece in flat.chunk(world)]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_every_value_is_found(tmp_path, stage, world):
    view = open_checkpoint(step(tmp_path / "in", stage, world))
    wanted = values()
    assert view.tensors.keys() == {*wanted, "e.weight"}
    for name, value in wanted.items():
        assert torch.equal(view.tensors[name].read(), value), name
    assert torch.equal(view.tensors["e.weight"].read(), wanted["a.weight"])
    if stage == 3:
        plural = "s" if world > 1 else ""
        assert view.tensors["a.weight"].how == f"from {world} flat partition{plural}"


FLAT = {2: "single_partition_of_fp32_groups", 3: "fp32_flat_groups"}


def damage(path: Path, pattern: str, change: Any) -> None:
    for file in path.glob(f"*/{pattern}"):
        content = torch.load(file, weights_only=True)
        change(content)
        torch.save(content, file)


def assert_refused(source: Path, message: str) -> None:
    with pytest.raises(WorkError, match=message):
        convert(source, source.parent / "out")
    assert not (source.parent / "out").exists()


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("param_shapes", [{"a": (2**40, 9)}, {}], "'a' ends at value"),
        ("param_shapes", [{"a": (-1,)}, {}], "no shape"),
        ("param_shapes", [{"a": "x"}, {}], "no shape"),
        ("param_shapes", [{"a": (1,)}, {"c": (1,)}], "the last weight"),
        ("param_shapes", [3, 4], "expected shapes by name"),
        ("module", None, "module: expected a dict"),
        ("shared_params", [1], "shared_params"),
        ("frozen_param_fragments", {}, "lacks 'd.weight'"),
        ("frozen_param_fragments", {"d.weight": torch.ones(2)}, r"too few values"),
    ],
    ids=str,
)
def test_model_states_that_do_not_fit(tmp_path, stage, key, value, message):
    source = step(tmp_path / "in", stage)
    damage(source, "*model_states*", lambda content: content.update({key: value}))
    assert_refused(source, message)


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("zero_stage", 4, "zero_stage is 4"),
        ("partition_count", 3, "3 processes saved it"),
        ("flat", None, "expected flat tensors"),
        ("flat", [torch.ones(2, 2)], "expected flat tensors"),
        ("flat", [torch.ones(4)] * 2, "ends at value"),
    ],
    ids=str,
)
def test_optimizer_states_that_do_not_fit(tmp_path, stage, key, value, message):
    source = step(tmp_path / "in", stage)
    entry = {FLAT[stage] if key == "flat" else key: value}
    damage(source, "*optim*", lambda content: content["optimizer_state_dict"].update(entry))
    assert_refused(source, message)


def test_partitions_that_differ_between_processes(tmp_path):
    source = step(tmp_path / "in", 3)
    entry = {FLAT[3]: [torch.ones(9), torch.ones(4)]}
    damage(source, "*pp_rank_1*optim*", lambda c: c["optimizer_state_dict"].update(entry))
    assert_refused(source, "differs between the processes")


def test_room_behind_each_weight(tmp_path):
    """Newer versions may leave some values free, so that each weight begins where it should."""
    source = step(tmp_path / "in", 2)
    flat = torch.zeros(32)
    state = values()
    flat[:15], flat[16:32] = state["a.weight"].flatten(), state["b.weight"].flatten()
    for rank, piece in enumerate(flat.chunk(2)):
        gaps = {"param_alignment_paddings": [[1, 0], [0]]}

        def change(content: Any, piece: Any = piece, gaps: Any = gaps) -> None:
            content["optimizer_state_dict"].update(gaps)
            content["optimizer_state_dict"][FLAT[2]][0] = piece.clone()

        damage(source, f"*pp_rank_{rank}*optim*", change)
    view = open_checkpoint(source)
    assert torch.equal(view.tensors["b.weight"].read(), state["b.weight"])
    damage(
        source,
        "*optim*",
        lambda c: c["optimizer_state_dict"].update({"param_alignment_paddings": [[1], [0]]}),
    )
    assert_refused(source, "expected one for each weight")


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: next(f.glob("*pp_rank_1*optim*")).unlink(), "2 processes saved it"),
        (lambda f: next(f.glob("*pp_rank_0*optim*")).unlink(), r"processes \[1\] do not belong"),
        (lambda f: [p.unlink() for p in f.glob("*model_states*")], "no \\*_model_states"),
        (lambda f: (f / "x_mp_rank_01_model_states.pt").touch(), "experts or stages"),
        (lambda f: (f / "mp_rank_01_model_states.pt").touch(), "tensor parallelism"),
        (lambda f: (f.parent / "latest").write_text("../../etc"), "names the step"),
        (lambda f: (f.parent / "latest").write_bytes(b"\xff" * 9999), "names the step"),
        (lambda f: f.rename(f.with_name("global_step8")), "names the step 'global_step7'"),
        (lambda f: [os.truncate(p, 700) for p in f.glob("*optim*")], "truncated|zip"),
    ],
)
def test_files_that_are_missing(tmp_path, stage, change, message):
    source = step(tmp_path / "in", stage)
    change(source / "global_step7")
    with pytest.raises(WorkError, match=message):
        open_checkpoint(source)


def test_a_missing_fragment_of_stage_3(tmp_path):
    source = step(tmp_path / "in", 3)
    next(source.glob("*/zero_pp_rank_1*model_states*")).unlink()
    with pytest.raises(WorkError, match="of 1 of 2 processes are here"):
        open_checkpoint(source)


def test_without_latest_the_only_step_counts(tmp_path):
    source = step(tmp_path / "in", 2)
    (source / "latest").unlink()
    assert open_checkpoint(source).tensors
    other = source / "global_step9"
    other.mkdir()
    (other / "zero_pp_rank_0_mp_rank_00_optim_states.pt").touch()
    with pytest.raises(WorkError, match="2 steps are here"):
        open_checkpoint(source)


def test_plain_weights_beside_a_step_count(tmp_path):
    source = step(tmp_path / "in", 2)
    save_model(tiny(), source)
    assert (
        find_container(source).name == "hf"
        and find_container(source / "global_step7").name == "zero"
    )


@pytest.mark.parametrize("stage", [2, 3])
def test_memory_is_that_of_one_tensor(tmp_path, stage):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "other"}))
    shapes = {f"w{n}": torch.Size([2048, 2048]) for n in range(10)}
    key = "fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups"
    for rank in range(2):
        flat = torch.zeros(5 * 2048 * 2048)
        optimizer = {"zero_stage": stage, "partition_count": 2, key: [flat]}
        torch.save(
            {"optimizer_state_dict": optimizer},
            folder / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt",
        )
        del flat, optimizer
    model = {"module": {}, "buffer_names": [], "param_shapes": [shapes], "shared_params": {}}
    torch.save(model, folder / "mp_rank_00_model_states.pt")
    assert_bounded(lambda: open_checkpoint(folder))
