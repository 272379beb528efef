"""`tfcli average`: the mean and the arc, checked sources, and files that hold what was computed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.models import GPT2, LLAMA, tiny
from tfcli.average.combine import arc, mean
from tfcli.average.run import run
from tfcli.average.spec import AverageResult, AverageSpec
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.io import tensor_pieces as pieces
from tfcli.checkpoints.write import verify_written
from tfcli.console import Console
from tfcli.errors import ModelError, UsageError, WorkError
from tfcli.recipe.execute import execute
from tfcli.recipe.job import Job


def average(output: Path, *sources: Path, **options: Any) -> AverageResult:
    output.mkdir()
    names = [str(source) for source in sources]
    return run(AverageSpec(sources=names, output=str(output), **options), Job(folder=output))


def finetune(folder: Path, seed: int, settings: dict[str, Any] = LLAMA, **changes: Any) -> Path:
    """A model whose weights are those of another moved a little."""
    model = tiny(settings, **changes)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    save_model(model, folder)
    return folder


def checkpoint(folder: Path, config: dict[str, Any] | None = None, **tensors: torch.Tensor) -> Path:
    folder.mkdir()
    write_safetensors(
        folder / "model.safetensors", [PendingTensor.of(name, t) for name, t in tensors.items()]
    )
    (folder / "config.json").write_text(json.dumps({"model_type": "other", **(config or {})}))
    return folder


def test_the_mean_of_three(tmp_path: Path) -> None:
    folders = [finetune(tmp_path / str(seed), seed) for seed in range(3)]
    result = average(tmp_path / "out", *folders, weights=[2, 1, 1])
    written, sources = open_tensors(tmp_path / "out"), [open_tensors(f) for f in folders]
    for name in written:
        a, b, c = (source[name] for source in sources)
        assert torch.allclose(written[name], 0.5 * a + 0.25 * b + 0.25 * c, rtol=0, atol=1e-6)
    assert result.shares == [0.5, 0.25, 0.25]
    assert result.averaged == result.verified == len(written) == len(result.tensors)
    load_model(tmp_path / "out")


def test_weights_as_text_and_without_weights_all_count_alike() -> None:
    spec = AverageSpec(sources=["a", "b"], output="c", weights="3, 1")
    assert spec.shares == [0.75, 0.25]
    assert AverageSpec(sources=["a", "b"], output="c").shares == [0.5, 0.5]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sources": ["a"]}, "at least 2"),
        ({"weights": "0.5"}, "1 weights for 2 checkpoints"),
        ({"weights": "0.5,x"}, "no list of numbers"),
        ({"weights": [1, -1]}, "not zero"),
        ({"weights": [1, math.nan]}, "not zero"),
        ({"sources": ["a", "b", "c"], "method": "slerp"}, "between two checkpoints, not 3"),
        ({"weights": [2, -1], "method": "slerp"}, "no negative weights"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        AverageSpec(**{"sources": ["a", "b"], "output": "c", **options})


def test_it_is_computed_in_fp32_and_rounded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 16)
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(7, 11, generator=generator).bfloat16() for _ in range(3)]
    found = mean(parts, [0.5, 0.25, 0.25], torch.bfloat16, "w")
    exact = sum(s * p.double() for s, p in zip([0.5, 0.25, 0.25], parts, strict=True))
    assert torch.equal(found, exact.float().bfloat16())
    in_bf16 = sum(s * p for s, p in zip([0.5, 0.25, 0.25], parts, strict=True))
    assert not torch.equal(found, in_bf16)


def test_each_tensor_has_the_type_of_the_first_or_the_one_asked_for(tmp_path: Path) -> None:
    a = checkpoint(tmp_path / "a", w=torch.ones(2).bfloat16(), n=torch.ones(2))
    b = checkpoint(tmp_path / "b", w=torch.zeros(2), n=torch.zeros(2).half())
    average(tmp_path / "c", a, b)
    kinds = {info.name: info.dtype for info in open_tensors(tmp_path / "c").infos()}
    assert kinds == {"w": "BF16", "n": "F32"}
    average(tmp_path / "d", a, b, dtype="fp16")
    assert {info.dtype for info in open_tensors(tmp_path / "d").infos()} == {"F16"}
    assert json.loads((tmp_path / "d/config.json").read_text())["dtype"] == "float16"


def test_slerp_turns_by_its_share_of_the_angle_and_keeps_the_length() -> None:
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    factors, degrees = arc(a, b, 1 / 3)
    assert degrees == pytest.approx(90)
    found = mean([a, b], factors, torch.float32, "w")
    turn = math.radians(30)
    assert torch.allclose(found, 2 * torch.tensor([[math.cos(turn), math.sin(turn)]]))


@pytest.mark.parametrize(
    ("a", "b"), [([1.0, 0.0], [1.0, 1e-4]), ([1.0, 0.0], [-1.0, 0.0]), ([0.0, 0.0], [1.0, 0.0])]
)
def test_slerp_without_an_arc_is_the_mean(a: list[float], b: list[float]) -> None:
    factors, _ = arc(torch.tensor(a), torch.tensor(b), 0.25)
    assert factors == [0.75, 0.25]


def test_slerp_of_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 100)
    a, b = finetune(tmp_path / "a", 1), finetune(tmp_path / "b", 2)
    result = average(tmp_path / "out", a, b, method="slerp", weights=[0.6, 0.4])
    one, other, written = (open_tensors(tmp_path / name) for name in ("a", "b", "out"))
    for tensor in result.tensors:
        x, y = one[tensor.name].double().flatten(), other[tensor.name].double().flatten()
        angle = torch.acos(torch.nn.functional.cosine_similarity(x, y, dim=0))
        assert tensor.angle == pytest.approx(math.degrees(angle), abs=1e-6)
        exact = (torch.sin(0.6 * angle) * x + torch.sin(0.4 * angle) * y) / torch.sin(angle)
        assert torch.allclose(written[tensor.name].flatten().double(), exact, atol=1e-6)
    average(tmp_path / "ends", a, b, method="slerp", weights=[1, 0])
    ends = open_tensors(tmp_path / "ends")
    assert all(torch.allclose(ends[name], one[name], atol=1e-7) for name in one)


def test_a_tied_tensor_is_written_once(tmp_path: Path) -> None:
    a = finetune(tmp_path / "a", 1, GPT2)
    b = finetune(tmp_path / "b", 2, GPT2)
    source = open_tensors(a)
    extra = PendingTensor.of("lm_head.weight", source["transformer.wte.weight"])
    write_safetensors(
        a / "model.safetensors", [*(PendingTensor.of(n, source[n]) for n in source), extra]
    )
    result = average(tmp_path / "out", a, b)
    assert result.tied == ["lm_head.weight"]
    assert set(open_tensors(tmp_path / "out")) == set(open_tensors(b))
    load_model(tmp_path / "out")


def test_config_and_tokenizer_are_the_first_ones(tmp_path: Path) -> None:
    a, b = finetune(tmp_path / "a", 1), finetune(tmp_path / "b", 2, eos_token_id=7)
    for folder in (a, b):
        (folder / "tokenizer.json").write_text(f'"{folder.name}"')
    result = average(tmp_path / "out", a, b)
    assert result.companions == ["tokenizer.json"]
    for name in ("tokenizer.json", "config.json"):
        assert (tmp_path / "out" / name).read_text() == (a / name).read_text()


def test_integers_are_copied_when_they_agree(tmp_path: Path) -> None:
    a = checkpoint(tmp_path / "a", w=torch.ones(2), ids=torch.arange(3))
    b = checkpoint(tmp_path / "b", w=torch.ones(2), ids=torch.arange(3))
    result = average(tmp_path / "out", a, b)
    assert (result.averaged, result.copied) == (1, 1)
    assert torch.equal(open_tensors(tmp_path / "out")["ids"], torch.arange(3))
    c = checkpoint(tmp_path / "c", w=torch.ones(2), ids=torch.arange(3) + 1)
    with pytest.raises(WorkError, match=r"'ids' differs .* have no mean"):
        average(tmp_path / "bad", a, c)


@pytest.mark.parametrize(
    ("config", "tensors", "says"),
    [
        ({}, {"w": torch.ones(3)}, r"'w' is \[3\] here and \[2\]"),
        ({}, {"v": torch.ones(2)}, "'v' is in .* and not here"),
        ({"rope_theta": 5.0}, {"w": torch.ones(2)}, "rope_theta is 5.0 here and absent"),
    ],
)
def test_sources_that_do_not_belong_together(
    tmp_path: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor], says: str
) -> None:
    a = checkpoint(tmp_path / "a", w=torch.ones(2))
    b = checkpoint(tmp_path / "b", config, **tensors)
    with pytest.raises(WorkError, match=says):
        average(tmp_path / "out", a, b)
    assert not list((tmp_path / "out").iterdir())


def test_packed_weights_are_refused(tmp_path: Path) -> None:
    a = checkpoint(tmp_path / "a", w=torch.ones(2))
    b = checkpoint(tmp_path / "b", {"quantization_config": {"bits": 4}}, w=torch.ones(2))
    with pytest.raises(UsageError, match="packed weights cannot be averaged"):
        average(tmp_path / "c", a, b)


def test_a_file_of_weights_is_the_checkpoint_that_it_lies_in(tmp_path: Path) -> None:
    a = checkpoint(tmp_path / "a", w=torch.ones(2))
    b = checkpoint(tmp_path / "b", w=torch.zeros(2))
    average(tmp_path / "out", a, b / "model.safetensors")
    assert torch.equal(open_tensors(tmp_path / "out")["w"], torch.full((2,), 0.5))


def test_ties_that_do_not_hold(tmp_path: Path) -> None:
    a, b = finetune(tmp_path / "a", 1, GPT2), finetune(tmp_path / "b", 2, GPT2)
    source = open_tensors(b)
    extra = PendingTensor.of("lm_head.weight", source["transformer.wte.weight"] + 1)
    write_safetensors(
        b / "model.safetensors", [*(PendingTensor.of(n, source[n]) for n in source), extra]
    )
    with pytest.raises(WorkError, match="differ, but the config ties them"):
        average(tmp_path / "out", a, b)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (70_000.0, "'w': 70000 is too large for float16"),
        (math.inf, "'w': the result is NaN or inf"),
    ],
)
def test_a_result_that_the_type_cannot_hold(tmp_path: Path, value: float, says: str) -> None:
    a = checkpoint(tmp_path / "a", w=torch.tensor([1.0, value]))
    with pytest.raises(WorkError, match=says):
        average(tmp_path / "out", a, a, dtype="fp16")


@pytest.mark.parametrize("damage", ["bit", "dtype", "missing", "surplus"])
def test_verification_finds_what_is_wrong(tmp_path: Path, damage: str) -> None:
    good = {"x": torch.ones(2), "y": torch.zeros(2)}
    bad = dict(good)
    if damage == "bit":
        bad["y"] = torch.tensor([0.0, -0.0])
    elif damage == "dtype":
        bad["y"] = torch.zeros(2).half()
    elif damage == "missing":
        del bad["y"]
    else:
        bad["z"] = torch.ones(1)
    folder = checkpoint(tmp_path / "a", **bad)
    with pytest.raises(WorkError, match=r"verification: '[yz]'"):
        verify_written(open_tensors(folder), [PendingTensor.of(n, t) for n, t in good.items()])


def test_the_card_and_files_of_a_size(tmp_path: Path) -> None:
    for name in "ab":
        save_model(tiny(LLAMA), tmp_path / name)
    spec = AverageSpec(
        sources=[str(tmp_path / name) for name in "ab"],
        output=str(tmp_path / "out"),
        weights="0.75,0.25",
        shard_size="20KB",
    )
    result = execute(spec, Console.silent()).result
    assert isinstance(result, AverageResult)
    assert len(result.files) > 3
    card = (tmp_path / "out/README.md").read_text()
    inputs = json.loads((tmp_path / "out/run.json").read_text())["inputs"]
    assert "| source 1 | `a` (counts 0.75) |" in card and "| source 2 | `b` (counts 0.25) |" in card
    assert all(digest in card for digest in inputs.values())
    assert f"{result.verified} tensors read back" in card
    assert str(tmp_path) not in card


def rewritten(folder: Path, name: Callable[[str], str | None], **more: torch.Tensor) -> Path:
    """The same folder with its tensors renamed; those that are called None are left out."""
    source = open_tensors(folder)
    tensors = {name(key): source[key].clone() for key in source} | more
    pending = [PendingTensor.of(key, value) for key, value in tensors.items() if key is not None]
    write_safetensors(folder / "model.safetensors", pending)
    return folder


def test_names_that_the_family_knows_as_one_are_one(tmp_path: Path) -> None:
    tied = {"tie_word_embeddings": True}
    one = finetune(tmp_path / "one", 1, **tied)
    plain = average(tmp_path / "plain", one, finetune(tmp_path / "other", 2, **tied))
    bare = finetune(tmp_path / "bare", 2, **tied)
    rewritten(bare, lambda key: key.removeprefix("model."))
    head = finetune(tmp_path / "head", 2, **tied)
    table = "model.embed_tokens.weight"
    rewritten(head, lambda key: "lm_head.weight" if key == table else key)
    wanted = open_tensors(tmp_path / "plain")
    for number, other in enumerate((bare, head)):
        result = average(tmp_path / f"out{number}", one, other)
        found = open_tensors(tmp_path / f"out{number}")
        assert [t.name for t in result.tensors] == [t.name for t in plain.tensors]
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
        load_model(tmp_path / f"out{number}")


def test_masks_that_the_model_computes_need_not_be_in_every_source(tmp_path: Path) -> None:
    one, other = finetune(tmp_path / "one", 1, GPT2), finetune(tmp_path / "other", 2, GPT2)
    mask = torch.ones(1, 1, 32, 32).tril().bool()
    rewritten(one, lambda key: key, **{"transformer.h.0.attn.bias": mask})
    for number, pair in enumerate(((one, other), (other, one))):
        average(tmp_path / f"out{number}", *pair)
        load_model(tmp_path / f"out{number}")
        assert "transformer.h.0.attn.bias" not in open_tensors(tmp_path / f"out{number}")


def test_two_spellings_of_one_config_are_one_and_another_value_is_not(tmp_path: Path) -> None:
    one, other = finetune(tmp_path / "one", 1), finetune(tmp_path / "other", 2)
    old = json.loads((one / "config.json").read_text())
    for key in ("rope_parameters", "rope_theta", "attention_bias", "mlp_bias", "head_dim", "dtype"):
        old.pop(key, None)
    old |= {"rope_theta": 10000.0, "rope_scaling": None, "pretraining_tp": 1, "use_cache": True}
    (one / "config.json").write_text(json.dumps(old))
    average(tmp_path / "out", one, other)
    (one / "config.json").write_text(json.dumps({**old, "rope_theta": 500000.0}))
    with pytest.raises(WorkError, match="rope"):
        average(tmp_path / "bad", one, other)


def test_a_config_that_cannot_be_read_is_told_from_one_of_another_model(tmp_path: Path) -> None:
    one, other = finetune(tmp_path / "one", 1), finetune(tmp_path / "other", 2)
    config = json.loads((other / "config.json").read_text())
    odd = {**config, "rope_scaling": {"type": "unheard"}, "rope_parameters": None}
    (other / "config.json").write_text(json.dumps(odd))
    for number, pair in enumerate(((one, other), (other, one))):
        with pytest.raises(ModelError, match="rope_type 'unheard' is not supported") as error:
            average(tmp_path / f"out{number}", *pair)
        assert str(other) in str(error.value.where)
