"""The types of mixes are those that llama.cpp's llama-quantize gives."""

import pytest

from tfcli.checkpoints.gguf.mixes import BY_BITS, MIXES, Shape, mix_chooser
from tfcli.checkpoints.gguf.types import BY_NAME
from tfcli.errors import UsageError
from tfcli.models.layouts.ggml import GGML_TYPES

LLAMA = Shape(layers=32, shared=4)


def types(mix, part, shape=LLAMA, width=4096):
    """The type of a part in each layer."""
    choose = mix_chooser(mix, shape)
    return [choose(f"blk.{layer}.{part}.weight", 2, width)[0] for layer in range(shape.layers)]


# Of Llama 3 8B as llama-quantize prints them.
@pytest.mark.parametrize(
    ("mix", "part", "finer", "of"),
    [
        ("Q4_K_M", "attn_v", "Q6_K", [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]),
        ("Q4_K_M", "ffn_down", "Q6_K", [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]),
        ("Q5_K_M", "attn_v", "Q6_K", [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]),
        ("Q4_K_S", "attn_v", "Q5_K", [0, 1, 2, 3]),
        ("Q4_K_S", "ffn_down", "Q5_K", [0, 1, 2, 3]),
        ("Q3_K_M", "attn_v", "Q5_K", [0, 1]),
        ("Q3_K_M", "ffn_down", "Q5_K", [0, 1]),
        ("Q2_K_S", "ffn_down", "Q4_K", [0, 1, 2, 3]),
        ("Q3_K_L", "attn_output", "Q5_K", list(range(32))),
        ("Q2_K", "attn_output", "Q3_K", list(range(32))),
        ("Q2_K", "attn_v", "Q4_K", list(range(32))),
    ],
)
def test_finer_types_are_in_these_layers(mix, part, finer, of):
    found = types(mix, part)
    assert [layer for layer, kind in enumerate(found) if kind == finer] == of


@pytest.mark.parametrize("mix", MIXES)
def test_most_tensors_have_the_type_of_the_mix(mix):
    most = MIXES[mix][0]
    for part in ("attn_q", "attn_k", "ffn_gate", "ffn_up", "ffn_gate_exps"):
        assert set(types(mix, part)) == {most}
    choose = mix_chooser(mix, LLAMA)
    assert choose("output.weight", 2, 4096) == ("Q8_0" if mix == "Q8_0" else "Q6_K", "")
    assert choose("token_embd.weight", 2, 4096) == (most, "")
    assert choose("blk.0.attn_norm.weight", 1, 4096) == ("F32", "")
    assert choose("blk.0.attn_q.bias", 1, 4096) == ("F32", "")
    assert choose("blk.0.ffn_gate_inp.weight", 2, 4096) == ("F32", "")


def test_a_tied_embedding_is_the_output_matrix():
    choose = mix_chooser("Q4_K_M", Shape(layers=32, tied=True))
    assert choose("token_embd.weight", 2, 4096) == ("Q6_K", "")


def test_values_of_few_heads_are_finer_at_two_bits():
    assert set(types("Q2_K", "attn_v", Shape(32, shared=1))) == {"Q3_K"}
    assert set(types("Q2_K_S", "attn_v", Shape(32, shared=1))) == {"Q2_K"}
    assert set(types("Q2_K_S", "attn_v", Shape(32, shared=8))) == {"Q4_K"}


def test_a_model_of_eight_experts_keeps_keys_and_values():
    mixtral = Shape(layers=32, shared=4, experts=8)
    for part, kind in {"attn_k": "Q8_0", "attn_v": "Q8_0", "attn_output": "Q5_K"}.items():
        assert set(types("Q4_K_M", part, mixtral)) == {kind}
    assert types("Q4_K_M", "ffn_down_exps", mixtral) == types("Q4_K_M", "ffn_down")


def test_a_model_of_70_b_keeps_values_finer():
    assert set(types("Q3_K_M", "attn_v", Shape(layers=80, shared=8))) == {"Q5_K"}
    assert set(types("Q3_K_S", "attn_v", Shape(layers=80, shared=8))) == {"Q5_K"}


@pytest.mark.parametrize(
    ("mix", "kind"), [("Q2_K_S", "Q4_0"), ("Q3_K_S", "Q4_0"), ("Q4_K_S", "Q5_0"), ("Q6_K", "Q8_0")]
)
def test_rows_that_are_no_whole_blocks_get_an_older_type(mix, kind):
    found, why = mix_chooser(mix, Shape(1))("blk.0.attn_q.weight", 2, 576)
    assert found == kind
    assert why == f"rows of 576 do not fill {MIXES[mix][0]}'s blocks"
    assert mix_chooser(mix, Shape(1))("blk.0.attn_q.weight", 2, 70)[0] == "F16"


def test_a_pattern_comes_first():
    choose = mix_chooser("Q4_K_M", LLAMA, [("attn_v", "q8_0"), ("blk.0", "Q2_K")])
    assert choose("blk.0.attn_v.weight", 2, 4096)[0] == "Q8_0"
    assert choose("blk.0.attn_q.weight", 2, 4096)[0] == "Q2_K"
    assert choose("blk.1.attn_q.weight", 2, 4096)[0] == "Q4_K"


@pytest.mark.parametrize(
    ("mix", "overrides", "what"),
    [
        ("Q4_K_X", (), "no mix of K-types"),
        ("Q4_K_M", [("x", "Q9_K")], "no type of GGUF"),
        ("Q4_K_M", [("(", "Q6_K")], "no regular expression"),
    ],
)
def test_what_is_no_mix_is_refused(mix, overrides, what):
    with pytest.raises(UsageError, match=what):
        mix_chooser(mix, LLAMA, overrides)


def test_bits_name_mixes_of_such_types():
    for bits, mix in BY_BITS.items():
        assert GGML_TYPES[MIXES[mix][0]].bits == bits
        assert MIXES[mix][0] in BY_NAME
