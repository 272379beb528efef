"""How long a text may be: what its positions allow, and no less; and that it stays right there."""

from __future__ import annotations

import pytest
import torch

from tests.generation.making import continued
from tests.models.tiny import tiny_model
from tfcli.errors import UsageError
from tfcli.evaluate.run import plan_of
from tfcli.evaluate.spec import EvalSpec
from tfcli.generation.caches import CACHES, make_cache
from tfcli.generation.tasks import room_after
from tfcli.models.limits import LIMIT
from tfcli.tokenizers.load import load_tokenizer

PROMPT = torch.randint(4, 61, (12,), generator=torch.Generator().manual_seed(0)).tolist()
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 50.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [1.5, 3.0, 8.0, 20.0],
}


def rope(kind, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


@torch.no_grad()
def without_a_cache(model, count):
    ids = list(PROMPT)
    for _ in range(count):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(PROMPT) :]


@pytest.mark.parametrize("trained", [12, 13, 20])
@pytest.mark.parametrize("cache", [name for name in CACHES if "quantized4" not in name])
@pytest.mark.parametrize("window", [None, 6])
def test_a_text_that_outgrows_longrope_is_read_again_with_the_long_factors(trained, cache, window):
    model = tiny_model(
        "phi3",
        hidden_size=32,
        num_attention_heads=4,
        sliding_window=window,
        rope_parameters={**LONGROPE, "original_max_position_embeddings": trained},
        max_position_embeddings=64,
        original_max_position_embeddings=trained,
    )
    kept = make_cache(cache, len(PROMPT) + 24 - 1, model)
    found = continued(model, PROMPT, max_new_tokens=24, cache=kept)
    assert found == without_a_cache(model, 24)


@pytest.mark.parametrize(
    ("model_type", "changes", "limit"),
    [
        ("bloom", {"seq_length": 16}, LIMIT),
        ("falcon", {"alibi": True, "max_position_embeddings": 16}, LIMIT),
        ("falcon", {"alibi": False, "max_position_embeddings": 16}, 16),
        ("llama", {"max_position_embeddings": 16, **rope("default")}, 16),
        ("llama", {"max_position_embeddings": 16, **rope("dynamic", factor=4.0)}, 64),
        ("llama", {"max_position_embeddings": 16, **rope("linear", factor=2.0)}, 32),
        ("llama", {"max_position_embeddings": 16, **rope("yarn", factor=4.0)}, 64),
        (
            "llama",
            {
                "max_position_embeddings": 64,
                **rope("yarn", factor=4.0, original_max_position_embeddings=16),
            },
            64,
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, str | int) else None,
)
def test_a_length_is_limited_only_where_the_positions_are(
    model_type, changes, limit, tiny_tokenizer
):
    config = tiny_model(model_type, **changes).config
    assert config.longest_input == limit
    assert room_after("causal-lm", PROMPT, config) == limit - len(PROMPT)
    if limit < LIMIT:
        assert room_after("causal-lm", [5] * (limit - 1), config) == 1
        with pytest.raises(UsageError, match=f"no room for new ones in the model's {limit} pos"):
            room_after("causal-lm", [5] * limit, config)
    # By default a window is what the model was trained on; a longer one is asked for.
    tokenizer = load_tokenizer(tiny_tokenizer)

    def window(**asked):
        spec = EvalSpec(model="m", data="d", **asked)
        return plan_of(spec, "causal-lm", tokenizer, config).window

    assert window() == config.max_position_embeddings
    assert window(window=min(limit, 10**6)) == min(limit, 10**6)


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("bloom", {"seq_length": 8}),
        ("falcon", {"alibi": True, "max_position_embeddings": 8}),
        ("llama", {"max_position_embeddings": 8, **rope("yarn", factor=4.0)}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_past_the_trained_length_the_cache_changes_nothing(model_type, changes):
    model = tiny_model(model_type, **changes)
    assert continued(model, PROMPT, max_new_tokens=12) == without_a_cache(model, 12)
