"""Types of a quantized file are those that llama.cpp's llama-quantize gives."""

from __future__ import annotations

import pytest
import torch

from tests.checkpoints.gguf.convert import plan, run, to_gguf
from tests.checkpoints.gguf.folders import write_folder
from tfcli.checkpoints.gguf.choose import type_chooser
from tfcli.checkpoints.gguf.repack import plan_repack

COARSE = ["q4_0", "q4_1", "q5_0", "q5_1"]


def types(planned):
    return {target.name: target.dtype for target in planned.targets}


@pytest.mark.parametrize("kind", COARSE)
@pytest.mark.parametrize(
    ("name", "finer", "coarse"),
    [
        ("llama", "output.weight", "token_embd.weight"),
        ("llama-tied", "token_embd.weight", "blk.0.ffn_down.weight"),
        ("gemma3_text", "token_embd.weight", "blk.0.attn_q.weight"),
        ("bert", "token_embd.weight", "blk.0.ffn_up.weight"),
    ],
)
def test_the_output_matrix_is_kept_at_8_bits(kind, name, finer, coarse, tmp_path):
    """Of a model that ties its embedding that is the embedding; as Q6_K is not written, Q8_0."""
    write_folder(tmp_path / "hf", name, torch.bfloat16)
    found = types(plan(tmp_path / "hf", kind))
    assert (found[finer], found[coarse]) == ("Q8_0", kind.upper())
    assert any(finer in note and "finer" in note for note in plan(tmp_path / "hf", kind).notes)
    to_gguf(tmp_path / "hf", tmp_path / "model.gguf", "bf16")
    again = plan_repack(tmp_path / "model.gguf", kind)
    assert types(again) == found
    run(again, tmp_path / "again.gguf")


def test_a_pattern_of_the_users_own_comes_first(tmp_path):
    write_folder(tmp_path / "hf", "llama-tied")
    found = types(plan(tmp_path / "hf", "q4_0", [("token_embd", "q4_0")]))
    assert found["token_embd.weight"] == "Q4_0"


@pytest.mark.parametrize("kind", ["bf16", "f16", "f32", "q8_0", None])
def test_finer_types_have_no_exceptions(kind):
    choose = type_chooser(kind, [], tied=True, experts=8)
    names = ("token_embd.weight", "output.weight", "blk.0.attn_v.weight", "blk.0.ffn_up.weight")
    assert {choose(name, 2, 64) for name in names} == {(kind.upper() if kind else "", "")}


@pytest.mark.parametrize(("experts", "expected"), [(8, "Q8_0"), (4, "Q4_0"), (0, "Q4_0")])
def test_beside_8_experts_keys_and_values_are_kept_at_8_bits(experts, expected):
    choose = type_chooser("q4_0", [], experts=experts)
    assert choose("blk.3.attn_k.weight", 2, 64)[0] == expected
    assert choose("blk.3.attn_v.weight", 2, 64)[0] == expected
    assert choose("blk.3.attn_q.weight", 2, 64)[0] == "Q4_0"


def test_what_llama_cpp_wants_in_float32_stays_so():
    choose = type_chooser("q4_0", [("", "q8_0")])
    assert choose("blk.0.attn_norm.weight", 1, 64) == ("F32", "")
    assert choose("blk.0.ffn_gate_inp.weight", 2, 64) == ("F32", "")
