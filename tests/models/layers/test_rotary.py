"""Rotary frequencies at real sizes, against transformers' own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.qwen2_vl import modeling_qwen2_vl
from transformers.models.qwen3_vl import modeling_qwen3_vl

from tfcli.models import processor
from tfcli.models.configs.rope import read_rope
from tfcli.models.errors import ModelError
from tfcli.models.layers.rotary import Rotary, attention_factor, inverse_frequencies

HEAD_DIM, LENGTH, TRAINED = 64, 4096, 512
TYPES = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": TRAINED},
    "yarn-no-rounding": {
        "rope_type": "yarn",
        "factor": 8.0,
        "original_max_position_embeddings": TRAINED,
        "truncate": False,
    },
    "yarn-trained-length-left-out": {"rope_type": "yarn", "factor": 8.0},
    "yarn-mscale": {
        "rope_type": "yarn",
        "factor": 8.0,
        "original_max_position_embeddings": TRAINED,
        "mscale": 1.0,
        "mscale_all_dim": 0.5,
        "beta_fast": 16.0,
        "beta_slow": 2.0,
    },
    "yarn-one-mscale": {
        "rope_type": "yarn",
        "factor": 8.0,
        "original_max_position_embeddings": TRAINED,
        "mscale": 0.7,
    },
    "longrope": {
        "rope_type": "longrope",
        "short_factor": [1 + i / 50 for i in range(HEAD_DIM // 2)],
        "long_factor": [1 + i / 5 for i in range(HEAD_DIM // 2)],
        "original_max_position_embeddings": TRAINED,
    },
    "llama3": {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": TRAINED,
    },
}


def ours_and_theirs(name):
    given = {"rope_parameters": TYPES[name] | {"rope_theta": 5e5}}
    config = transformers.LlamaConfig(
        hidden_size=4 * HEAD_DIM, num_attention_heads=4, max_position_embeddings=LENGTH, **given
    )
    rope = read_rope({"max_position_embeddings": LENGTH, **given})
    return rope, config


@pytest.mark.parametrize("length", [None, TRAINED, TRAINED + 1, LENGTH + 100])
@pytest.mark.parametrize("name", TYPES)
def test_frequencies(name, length):
    rope, config = ours_and_theirs(name)
    rotary = Rotary(rope, HEAD_DIM, LENGTH)
    positions = torch.arange(length or 3)[None]
    expected, factor = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, seq_len=length)
    assert torch.allclose(rotary.frequencies(positions), expected, rtol=1e-6, atol=0)
    assert attention_factor(rope, LENGTH) == pytest.approx(factor)


def test_plain_frequencies():
    rope = {"rope_type": "default", "rope_theta": 100.0}
    assert inverse_frequencies(rope, 4, 16).tolist() == pytest.approx([1.0, 0.1])


def test_rounding_matters_to_yarn():
    rounded, _ = ours_and_theirs("yarn")
    exact, _ = ours_and_theirs("yarn-no-rounding")
    pair = [inverse_frequencies(rope, HEAD_DIM, LENGTH) for rope in (rounded, exact)]
    assert not torch.allclose(*pair, rtol=1e-4)


def test_a_longer_input_leaves_no_trace():
    """A short input after a long one is rotated as if it came first."""
    rope, _ = ours_and_theirs("dynamic")
    rotary = Rotary(rope, HEAD_DIM, LENGTH)
    short = torch.arange(4)[None]
    first = rotary.frequencies(short)
    assert not torch.equal(rotary.frequencies(torch.tensor([[2 * LENGTH]])), first)
    assert torch.equal(rotary.frequencies(short), first)


@pytest.mark.parametrize("length", [TRAINED, TRAINED + 1, LENGTH + 100])
@pytest.mark.parametrize("name", ["dynamic", "longrope"])
def test_frequencies_of_positions_that_are_not_to_be_read(monkeypatch, name, length):
    rope, _ = ours_and_theirs(name)
    rotary, positions = Rotary(rope, HEAD_DIM, LENGTH), torch.arange(length)[None]
    expected = rotary.frequencies(positions)
    monkeypatch.setattr(processor, "can_read", lambda x: False)
    torch.testing.assert_close(rotary.frequencies(positions), expected, rtol=1e-6, atol=0)
    assert Rotary(rope, HEAD_DIM, LENGTH).frequencies(positions.to("meta")).is_meta


SECTIONS = (16, 10, 6)
THREE = torch.randint(0, 50, (2, 3, 7), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("interleaved", "theirs"),
    [
        (False, modeling_qwen2_vl.Qwen2VLRotaryEmbedding),
        (True, modeling_qwen3_vl.Qwen3VLTextRotaryEmbedding),
    ],
    ids=["qwen2_vl", "qwen3_vl"],
)
def test_positions_of_three_numbers_equal_theirs(interleaved, theirs):
    settings = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": list(SECTIONS)}
    config = SimpleNamespace(
        rope_parameters=settings,
        head_dim=HEAD_DIM,
        hidden_size=2 * HEAD_DIM,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
    )
    cos, sin = theirs(config)(torch.zeros(1), THREE.transpose(0, 1))
    rotary = Rotary(settings, HEAD_DIM, LENGTH, sections=SECTIONS, sections_interleaved=interleaved)
    ours = rotary(THREE, torch.float32)
    torch.testing.assert_close(ours[0][:, 0], cos)
    half = HEAD_DIM // 2
    torch.testing.assert_close(ours[1][:, 0], torch.cat((-sin[..., :half], sin[..., half:]), -1))


def test_text_has_one_number_three_times():
    rope = {"rope_type": "default", "rope_theta": 1e6}
    rotary = Rotary(rope, HEAD_DIM, LENGTH, sections=SECTIONS)
    positions = torch.arange(5)[None]
    thrice = positions[:, None].expand(1, 3, 5)
    for one, other in zip(
        rotary(positions, torch.float32), rotary(thrice, torch.float32), strict=True
    ):
        assert torch.equal(one, other)


def test_sections_that_do_not_fit_a_head_are_refused():
    rope = {"rope_type": "default", "rope_theta": 1e6}
    with pytest.raises(ModelError, match=r"mrope_section is \[16, 16\]: three numbers .* 32"):
        Rotary(rope, HEAD_DIM, LENGTH, sections=(16, 16))
    with pytest.raises(ModelError, match=r"position_ids has shape \(2, 3, 7\)"):
        Rotary(rope, HEAD_DIM, LENGTH)(THREE, torch.float32)
