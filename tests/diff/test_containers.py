"""`tfcli diff` between containers: tensors under one set of names, configs by what they mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.dcp.test_dcp import saved
from tests.checkpoints.gguf.files import rewrite
from tests.checkpoints.gguf.folders import write_folder
from tests.checkpoints.mlx.test_mlx import folder as mlx_folder
from tests.checkpoints.mlx.test_mlx import quantized
from tests.checkpoints.models import LLAMA, tiny
from tests.dequantize.test_dequantize import quantized as gptq
from tests.diff.test_diff import diff, weights
from tfcli.checkpoints.folder import save_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.convert.run import run as convert
from tfcli.convert.spec import ConvertSpec
from tfcli.diff.spec import TensorDifference
from tfcli.errors import UsageError, WorkError
from tfcli.recipe.job import Job

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def converted(source: Path, to: str, **options: Any) -> Path:
    """The source in another container, beside it."""
    output = source.with_name(to + "".join(options.values()))
    output.mkdir()
    convert(
        ConvertSpec(source=str(source), output=str(output), to=to, **options), Job(folder=output)
    )
    return output


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    write_folder(tmp_path / "hf", "llama-3")
    return tmp_path / "hf"


@pytest.mark.parametrize("to", ["pt", "gguf", "meta"])
def test_the_same_in_another_container(tmp_path: Path, to: str) -> None:
    source = tmp_path / "hf"
    if to == "meta":  # which has no place for a scaling of its own, a length and special tokens
        write_folder(source, "llama", max_position_embeddings=2048)
        edit(source, bos_token_id=1, eos_token_id=2, pad_token_id=None)
    else:
        write_folder(source, "llama-3")
    other = converted(source, to)
    for result in (diff(source, other), diff(other, source)):
        assert {result.kind_a, result.kind_b} == {"hf", {"pt": "hf"}.get(to, to)}
        assert result.equal == len(result.tensors)
        assert result.config == [] and result.identical


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_quantized_file_and_what_it_was_made_of(llama: Path) -> None:
    q8 = converted(llama, "gguf", dtype="q8_0")
    result = diff(llama, next(q8.glob("*.gguf")))
    found = {tensor.name: tensor for tensor in result.tensors}
    up = found["model.layers.0.mlp.up_proj.weight"]
    assert (up.status, up.how_a, up.how_b) == ("different", "", "Q8_0 dequantized")
    # Half a step of 127, of the largest value in a block of 32.
    assert 0 < (up.relative_difference or 0) <= 0.5 / 127 * 1.01
    assert found["model.norm.weight"].status == "equal"
    assert result.config == []
    with pytest.raises(WorkError, match="differ by more than"):
        diff(llama, q8, fail_above=0.001)


def test_a_config_made_of_keys_is_compared_by_its_meaning(llama: Path, tmp_path: Path) -> None:
    file = next(converted(llama, "gguf").glob("*.gguf"))
    foreign = rewrite(file, tmp_path / "foreign.gguf", "tfcli")
    edit(llama, transformers_version="9", some_note="x", rms_norm_eps=1e-5)
    result = diff(llama, foreign)
    assert [item.key for item in result.config] == ["rms_norm_eps"]


def test_folders_of_trainers(tmp_path: Path) -> None:
    save_model(tiny(), tmp_path / "hf")
    source = saved(tmp_path / "in/dcp", {"model": tiny().state_dict(), "step": 1})
    (source / "config.json").unlink()
    bare = diff(tmp_path / "hf", source)
    assert (bare.kind_b, bare.config_compared) == ("dcp", False)
    assert bare.equal == len(bare.tensors)
    named = diff(tmp_path / "hf", source, config_from=str(tmp_path / "hf"))
    assert named.config_compared and named.identical
    with pytest.raises(UsageError, match="bring what there is of a config"):
        diff(tmp_path / "hf", tmp_path / "hf", config_from=str(tmp_path / "hf"))


def test_mlx_is_compared_dequantized(tmp_path: Path) -> None:
    parts = quantized(4)
    source = mlx_folder(tmp_path / "in", parts, {"bits": 4, "group_size": 32})
    dense = {"a__weight": parts["dense"], "norm__weight": torch.ones(3).half()}
    found = diff(source, weights(tmp_path / "dense.safetensors", **dense))
    assert (found.kind_a, found.kind_b, found.equal) == ("mlx", "safetensors", 2)
    tensor: TensorDifference = found.tensors[0]
    assert tensor.how_a == "4 bits in groups of 32 dequantized"


def test_pickles(tmp_path: Path) -> None:
    state = tiny(LLAMA).state_dict()
    torch.save({"model": state}, tmp_path / "a.pt")
    save_model(tiny(LLAMA), tmp_path / "hf")
    result = diff(tmp_path / "a.pt", tmp_path / "hf")
    assert (result.kind_a, result.equal) == ("torch", len(state))


def test_packed_weights_are_compared_dequantized_with_and_without_the_order_of_groups(
    tmp_path: Path,
) -> None:
    packed = gptq(tmp_path / "q")
    result = diff(tmp_path / "q-dense", packed)
    assert (result.only_a, result.only_b, result.shapes) == (0, 0, 0)
    found = {tensor.name: tensor for tensor in result.tensors}
    up = found["model.layers.0.mlp.up_proj.weight"]
    assert (up.status, up.how_b) == ("different", "4 bits dequantized")
    assert 0 < (up.relative_difference or 0) < 0.2
    assert found["model.norm.weight"].status == "equal"
    source = open_tensors(packed / "model.safetensors")
    (tmp_path / "less").mkdir()
    held = {n.replace(".", "__"): source[n] for n in source if not n.endswith("g_idx")}
    weights(tmp_path / "less/model.safetensors", **held)
    (tmp_path / "less/config.json").write_text((packed / "config.json").read_text())
    assert diff(packed, tmp_path / "less").identical
