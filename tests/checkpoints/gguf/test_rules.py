"""Names and rules: those of llama.cpp, and each with an exact inverse."""

import gguf
import pytest
import torch

from tests.checkpoints.dialect.test_dialect import held
from tests.checkpoints.gguf.convert import to_gguf
from tests.checkpoints.gguf.files import rewrite
from tests.checkpoints.gguf.folders import FAMILIES, model, write_folder
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.gguf.choose import stays_single
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.file_write import PendingGGUF, Value, write_gguf
from tfcli.checkpoints.gguf.rules import BY_MODEL_TYPE, DIALECTS
from tfcli.checkpoints.io.tensor_pieces import same_bits
from tfcli.errors import WorkError
from tfcli.models.saving import plan_export


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.model_type)
def test_names_are_those_of_the_gguf_library(dialect):
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == dialect.arch)
    theirs = gguf.get_tensor_name_map(arch, 2)
    for rule in dialect.rules:
        stored = rule.stored if isinstance(rule.stored, str) else rule.stored[0]
        hf, ours = (text.format(layer=1, expert=3) for text in (rule.names, stored))
        stacked = hf.replace("block_sparse_moe.experts.3", "feed_forward.experts")
        stacked = stacked.replace("model.layers", "layers") if stacked != hf else hf
        stacked = stacked.replace("experts.3.", "experts.").removeprefix("bert.")
        assert theirs.get_name(stacked, try_suffixes=(".weight", ".bias")) == ours


@pytest.mark.parametrize("name", FAMILIES)
def test_every_tensor_of_a_model_has_one_place_and_comes_back(name):
    made = model(name)
    dialect, config = BY_MODEL_TYPE[made.config.model_type], made.config.to_dict()
    before = {item.name: held(item.name, torch.randn(item.shape)) for item in plan_export(made)}
    after = dialect.to_hf(dialect.from_hf(before, config), config)
    assert set(after) == set(before) - set(dialect.left_unwritten(before))
    for item, one in after.items():
        assert same_bits(one.read().float(), before[item].read()), item


def test_fused_heads_become_fused_kinds():
    rows = [f + 10 * kind + 100 * head for head in range(4) for kind in range(3) for f in (0, 1)]
    steps = next(r for r in BY_MODEL_TYPE["gpt_neox"].rules if "attn_qkv" in r.stored).steps
    made = [held("qkv", torch.tensor(rows).float())]
    for step in reversed(steps):
        made = step.inverse().apply(made, {"head_dim": 2, "heads": 8, "groups": 4})
    assert made[0].read().tolist()[:8] == [0, 1, 100, 101, 200, 201, 300, 301]


def test_what_stays_in_float32():
    single = ["output_norm.weight", "blk.0.attn_q.bias", "blk.0.ffn_gate_inp.weight"]
    assert all(stays_single(name, 2) for name in [*single, "position_embd.weight", "rope_freqs"])
    assert stays_single("x.weight", 1)
    assert not any(stays_single(n, 2) for n in ("token_embd.weight", "blk.0.attn_q.weight"))


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


@pytest.mark.parametrize("drop", ["", "|.*_exps"])
def test_experts_that_are_not_there_are_refused_before_they_are_counted(drop, tmp_path):
    write_folder(tmp_path / "hf", "mixtral")
    to_gguf(tmp_path / "hf", tmp_path / "model.gguf")
    many = {"llama.expert_count": Value("uint32", 20_000)}
    edited = rewrite(tmp_path / "model.gguf", tmp_path / "edited.gguf", rf"tfcli\.{drop}", many)
    with pytest.raises(WorkError, match="the config says 20000"):
        open_checkpoint(edited)
