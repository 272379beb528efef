"""Names and rules: those of llama.cpp, and each with an exact inverse."""

from types import SimpleNamespace

import gguf
import pytest
import torch

from tests.checkpoints.gguf.convert import to_gguf
from tests.checkpoints.gguf.folders import FAMILIES, model, write_folder
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.file_write import PendingGGUF, Value, write_gguf
from tfcli.checkpoints.gguf.names import DIALECTS, stays_single
from tfcli.checkpoints.gguf.rules import AddOne, ByKind, Permute, Rule, Transpose
from tfcli.models.saving import plan_export

SIZES = SimpleNamespace(num_attention_heads=4, num_key_value_heads=2)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.model_type)
def test_names_are_those_of_the_gguf_library(dialect):
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == dialect.arch)
    theirs = gguf.get_tensor_name_map(arch, 2)
    for rule in dialect.rules:
        places = {"i": "1", "e": "3", "p": "weight"}
        hf, ours = rule.name(rule.hf, places), rule.name(rule.gguf, places)
        stacked = hf.replace("block_sparse_moe.experts.3", "feed_forward.experts")
        stacked = stacked.replace("model.layers", "layers") if stacked != hf else hf
        stacked = stacked.replace("experts.3.", "experts.").removeprefix("bert.")
        assert theirs.get_name(stacked, try_suffixes=(".weight", ".bias")) == ours


@pytest.mark.parametrize("name", FAMILIES)
def test_every_tensor_of_a_model_has_one_place_and_comes_back(name):
    made = model(name)
    dialect = next(d for d in DIALECTS if d.model_type == made.config.model_type)
    for item in plan_export(made):
        if dialect.why_dropped(item.name):
            continue
        rule, places = dialect.of_hf(item.name)
        stored = rule.name(rule.gguf, places)
        back, found = dialect.of_gguf(stored)
        assert back is rule
        assert rule.name(rule.hf, {**places, **found}) == item.name


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        (Permute("num_attention_heads"), (32, 5)),
        (Permute("num_key_value_heads"), (16,)),
        (Transpose(), (6, 4)),
        (ByKind(), (48, 5)),
        (ByKind(), (48,)),
    ],
)
def test_changes_have_an_inverse(change, shape):
    tensor = torch.randn(shape)
    written = change.write(tensor, SIZES)
    assert not torch.equal(written, tensor) if written.shape == tensor.shape else True
    assert torch.equal(change.read(written, SIZES), tensor)
    assert torch.equal(change.write(change.read(tensor, SIZES), SIZES), tensor)


def test_rotary_pairs_become_neighbours():
    rows = torch.tensor([0, 1, 2, 3, 10, 11, 12, 13])
    written = Permute("num_key_value_heads").write(rows, SIZES)
    assert written.tolist() == [0, 2, 1, 3, 10, 12, 11, 13]


def test_fused_heads_become_fused_kinds():
    rows = torch.tensor(
        [f + 10 * kind + 100 * head for head in range(4) for kind in range(3) for f in (0, 1)]
    )
    written = ByKind().write(rows, SIZES)
    assert written[:8].tolist() == [0, 1, 100, 101, 200, 201, 300, 301]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_adding_one_loses_nothing_with_its_remainder(dtype):
    values = [0.0, -1.0, 1e-7, 3e-5, -0.3333333, 0.1, 7e-39, 30000.0, -2.5, 65504.0]
    tensor = torch.tensor(values).to(dtype)
    more = AddOne()
    written = more.write(tensor, None)
    assert written.dtype == torch.float32
    back = more.restore(written, more.remainder(tensor)).to(dtype)
    assert torch.equal(back, tensor)


def test_what_stays_in_float32():
    single = ["output_norm.weight", "blk.0.attn_q.bias", "blk.0.ffn_gate_inp.weight"]
    assert all(stays_single(name, 2) for name in [*single, "position_embd.weight", "rope_freqs"])
    assert stays_single("x.weight", 1)
    assert not any(stays_single(n, 2) for n in ("token_embd.weight", "blk.0.attn_q.weight"))


def test_places_in_names_are_bounded():
    rule = Rule("a.{i}.b.{p}", "c.{i}.{p}")
    assert rule.from_hf("a.12.b.bias") == {"i": "12", "p": "bias"}
    assert rule.from_hf("a.1234567.b.bias") is None
    assert rule.from_hf("a.1.b.scale") is None and rule.from_hf("a.1.bxbias") is None


def test_experts_of_older_files_are_tensors_of_their_own(tmp_path):
    write_folder(tmp_path / "hf", "mixtral")
    to_gguf(tmp_path / "hf", tmp_path / "model.gguf")
    file = GGUFFile(tmp_path / "model.gguf")
    tensors = []
    for name, info in file.tensors.items():
        stack = file.read(name)
        if "_exps." not in name:
            tensors.append(PendingGGUF(name, info.dtype, info.shape, lambda whole=stack: [whole]))
            continue
        for place, one in enumerate(stack):
            older = name.replace("_exps.", f".{place}.")
            tensors.append(PendingGGUF(older, info.dtype, info.shape[1:], lambda one=one: [one]))
    metadata = {
        key: Value(file.types[key], value)
        for key, value in file.metadata.items()
        if not key.startswith("tfcli.")
    }
    write_gguf(tmp_path / "older.gguf", metadata, tensors)
    found = open_checkpoint(tmp_path / "older.gguf").weights
    expected = open_checkpoint(tmp_path / "hf").weights
    assert set(found) == set(expected)
    assert all(torch.equal(found[name].float(), expected[name]) for name in expected)
