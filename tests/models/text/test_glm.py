"""GLM against its formula, written out naively here, and its ways of remembering."""

from __future__ import annotations

import json
import math

import pytest
import torch

from tests.models.test_calibration import assert_walked
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize, load_weights
from tfcli.models.registry import read_config

TINY = {
    "model_type": "glm",
    "vocab_size": 61,
    "hidden_size": 32,
    "num_layers": 3,
    "num_attention_heads": 4,
    "max_sequence_length": 24,
    "initializer_range": 0.2,
}
NO_DROPOUT = {f"{part}_dropout_prob": 0.0 for part in ("embedding", "attention", "output")}
HEADS, WIDTH, LAYERS = 4, 32, 3


def tiny(task="causal-lm", seed=0, **keys):
    model = initialize(build(config_from_recipe(TINY | keys), task), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # norms and biases that do nothing would hide mistakes
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def blanked(rows=2, seed=1):
    """Ids [b, 12] and positions [b, 2, 12]: a prefix of 7, then a blank that stands at 3."""
    ids = torch.randint(0, 61, (rows, 12), generator=torch.Generator().manual_seed(seed))
    row = [[0, 1, 2, 3, 4, 5, 6, 3, 3, 3, 3, 3], [0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]]
    return ids, torch.tensor([row] * rows)


def by_hand(model, ids, positions, seen):
    """Logits [b, s, vocab] from the formula: two position tables, pre-norm, tied head.

    Args:
        seen (Tensor): [b or 1, s, s], 1 where a query (row) sees a key (column).
    """
    w = {name.removeprefix("glm."): value for name, value in model.state_dict().items()}

    def norm(x, name):
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
        return (x - mean) / (variance + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = w["word_embeddings.weight"][ids]
    x = x + w["transformer.position_embeddings.weight"][positions[:, 0]]
    x = x + w["transformer.block_position_embeddings.weight"][positions[:, 1]]
    for i in range(LAYERS):
        layer = f"transformer.layers.{i}"
        fused = linear(norm(x, f"{layer}.input_layernorm"), f"{layer}.attention.query_key_value")
        heads = []
        for head in range(HEADS):
            part = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
            query, key, value = (
                fused[..., WIDTH * n : WIDTH * (n + 1)][..., part] for n in range(3)
            )
            scores = query @ key.transpose(1, 2) / math.sqrt(WIDTH // HEADS)
            heads.append(scores.masked_fill(seen == 0, -1e9).softmax(-1) @ value)
        x = x + linear(torch.cat(heads, -1), f"{layer}.attention.dense")
        h = linear(norm(x, f"{layer}.post_attention_layernorm"), f"{layer}.mlp.dense_h_to_4h")
        h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
        x = x + linear(h, f"{layer}.mlp.dense_4h_to_h")
    return norm(x, "transformer.final_layernorm") @ w["word_embeddings.weight"].T


def sight(prefixes, length=12):
    """1 where key j stands in the row's prefix or not after query i; [b, length, length]."""
    return torch.stack(
        [
            torch.tensor(
                [[float(j < prefix or j <= i) for j in range(length)] for i in range(length)]
            )
            for prefix in prefixes
        ]
    )


def close(ours, theirs, atol=2e-5):
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=1e-4)


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize(
    ("given", "prefixes"),
    [
        (torch.tensor([7, 4]), [7, 4]),
        (torch.tensor(7), [7]),
        (torch.tensor([7]), [7]),
        (7, [7]),
        (torch.tensor([0, 12]), [0, 12]),
    ],
)
def test_the_prefix_is_seen_by_all_and_the_rest_by_what_comes_after(given, prefixes, backend):
    model = tiny()
    other = build(model.config, "causal-lm", attention=backend)
    load_weights(other, model.state_dict())
    ids, positions = blanked()
    out = other.eval()(ids, position_ids=positions, prefix_lengths=given).logits
    close(out, by_hand(model, ids, positions, sight(prefixes)))


def test_without_a_prefix_it_is_causal_and_positions_are_counted():
    model = tiny()
    ids, _ = blanked()
    counted = torch.stack((torch.arange(12), torch.zeros(12, dtype=torch.long)))[None]
    close(model(ids).logits, by_hand(model, ids, counted, sight([0])))


def test_both_rows_of_the_positions_matter():
    model = tiny()
    ids, positions = blanked()
    out = model(ids, position_ids=positions, prefix_lengths=7).logits
    for row in (0, 1):
        moved = positions.clone()
        moved[:, row, -1] += 1
        other = model(ids, position_ids=moved, prefix_lengths=7).logits
        assert not torch.allclose(out[:, -1], other[:, -1], atol=1e-3)
        assert torch.equal(out[:, :-1], other[:, :-1])


def test_a_mask_of_ones_own_is_used_as_it_is():
    model = tiny()
    ids, positions = blanked()
    generator = torch.Generator().manual_seed(3)
    seen = (torch.rand(2, 12, 12, generator=generator) < 0.6).float()
    seen[:, :, 0] = 1
    expected = by_hand(model, ids, positions, seen)
    close(model(ids, position_ids=positions, visible=seen[:, None]).logits, expected)
    # Columns of what is not there any more stand at the left.
    wide = torch.cat((torch.zeros(2, 12, 5), seen), -1)[:, None]
    close(model(ids, position_ids=positions, visible=wide).logits, expected)


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_a_query_that_may_see_nothing_gives_numbers(backend):
    model = build(tiny().config, "causal-lm", attention=backend)
    model = initialize(model).eval()
    ids, positions = blanked()
    seen = torch.ones(2, 1, 12, 12)
    seen[:, :, 5] = 0
    assert model(ids, position_ids=positions, visible=seen).logits.isfinite().all()


def test_one_table_is_enough_without_block_positions():
    model = tiny(block_position_encoding=False)
    tables = model.glm.transformer
    assert tables.position_embeddings.weight.shape == (24, 32)
    assert not hasattr(tables, "block_position_embeddings")
    ids, positions = blanked()
    out = model(ids, position_ids=positions, prefix_lengths=7).logits
    assert torch.equal(out, model(ids, position_ids=positions[:, 0], prefix_lengths=7).logits)


@pytest.mark.parametrize("left", [True, False])
def test_padding_changes_no_real_token(left):
    model = tiny()
    ids, positions = blanked(1)
    alone = model(ids, position_ids=positions, prefix_lengths=7).logits
    pad = (3, 0) if left else (0, 3)
    padded = torch.nn.functional.pad(ids, pad, value=9)
    mask = torch.nn.functional.pad(torch.ones(1, 12), pad)
    out = model(
        padded,
        attention_mask=mask,
        position_ids=torch.nn.functional.pad(positions, pad),
        prefix_lengths=10 if left else 7,
    ).logits
    close(out[mask.bool()][None], alone)


@pytest.mark.parametrize("backend", ["sdpa", "flex"])
@torch.no_grad()
def test_rows_of_one_prefix_and_several_paddings(backend):
    model = tiny()
    other = build(model.config, "causal-lm", attention=backend)
    load_weights(other, model.state_dict())
    ids, positions = blanked(3)
    lengths = [12, 11, 9]
    mask = torch.tensor([[1] * length + [0] * (12 - length) for length in lengths])
    out = other.eval()(ids, attention_mask=mask, position_ids=positions, prefix_lengths=7).logits
    expected = by_hand(model, ids, positions, sight([7]))
    close(out[mask.bool()], expected[mask.bool()])


def test_a_batch_is_its_rows():
    model = tiny()
    ids, positions = blanked(3)
    lengths = torch.tensor([7, 5, 2])
    whole = model(ids, position_ids=positions, prefix_lengths=lengths).logits
    for row in range(3):
        one = slice(row, row + 1)
        alone = model(ids[one], position_ids=positions[one], prefix_lengths=lengths[one]).logits
        close(whole[one], alone)


@pytest.mark.parametrize("kind", ["dynamic", "static", "quantized"])
@pytest.mark.parametrize("step", [1, 3])
@torch.no_grad()
def test_decoding_with_a_cache_equals_one_pass(kind, step):
    model = tiny()
    ids, positions = blanked()
    lengths = torch.tensor([7, 4])
    expected = model(ids, position_ids=positions, prefix_lengths=lengths).logits
    cache = model.make_cache(kind, 12)
    parts = []
    for start, end in [(0, 7), *((n, min(n + step, 12)) for n in range(7, 12, step))]:
        part = slice(start, end)
        given = {"prefix_lengths": lengths} if start == 0 else {}
        parts.append(
            model(ids[:, part], position_ids=positions[..., part], cache=cache, **given).logits
        )
    close(torch.cat(parts, 1), expected)


@pytest.mark.parametrize("backend", ["sdpa", "eager", "flex"])
@pytest.mark.parametrize("kind", ["dynamic", "static", "quantized"])
@torch.no_grad()
def test_a_prefix_that_goes_on_behind_a_cache(kind, backend):
    """Its length is counted from where the row begins, not from the new tokens."""
    model = tiny()
    other = build(model.config, "causal-lm", attention=backend)
    load_weights(other, model.state_dict())
    other.eval()
    ids, positions = blanked()
    lengths = torch.tensor([7, 4])
    cache = other.make_cache(kind, 12)
    parts = [
        other(
            ids[:, part],
            position_ids=positions[..., part],
            prefix_lengths=lengths,
            cache=cache,
        ).logits
        for part in (slice(0, 3), slice(3, 12))
    ]
    seen = sight([7, 4])
    seen[:, :3, 3:] = 0  # what came first could not see what is new
    close(torch.cat(parts, 1), by_hand(model, ids, positions, seen))


def test_a_mask_of_ones_own_goes_with_a_cache():
    model = tiny()
    ids, positions = blanked()
    seen = sight([7, 4])[:, None]
    expected = model(ids, position_ids=positions, visible=seen).logits
    cache = model.make_cache()
    model(ids[:, :7], position_ids=positions[..., :7], visible=seen[:, :, :7, :7], cache=cache)
    out = model(ids[:, 7:], position_ids=positions[..., 7:], visible=seen[:, :, 7:], cache=cache)
    close(out.logits, expected[:, 7:])


@pytest.mark.parametrize("step", [1, 5])
def test_memories_of_a_prefix_equal_one_pass(step):
    model = tiny()
    ids, positions = blanked()
    expected = model(ids, position_ids=positions, prefix_lengths=7).logits
    first = model(
        ids[:, :7], position_ids=positions[..., :7], prefix_lengths=7, output_hidden_states=True
    )
    mems = first.hidden_states
    parts = [first.logits]
    for start in range(7, 12, step):
        part = slice(start, start + step)
        out = model(
            ids[:, part],
            position_ids=positions[..., part],
            mems=mems,
            prefix_lengths=0,
            output_hidden_states=True,
        )
        mems = [torch.cat(pair, 1) for pair in zip(mems, out.hidden_states, strict=True)]
        parts.append(out.logits)
    close(torch.cat(parts, 1), expected)


def test_a_prefix_after_memories_counts_from_the_new_tokens():
    model = tiny()
    ids, positions = blanked()
    first = model(
        ids[:, :3], position_ids=positions[..., :3], prefix_lengths=3, output_hidden_states=True
    )
    out = model(
        ids[:, 3:], position_ids=positions[..., 3:], mems=first.hidden_states, prefix_lengths=4
    )
    seen = sight([7])
    seen[:, :3, 3:] = 0  # what came first could not see what is new
    close(out.logits, by_hand(model, ids, positions, seen)[:, 3:])


def test_gradients_with_and_without_checkpointing_are_equal():
    ids, positions = blanked()
    grads = []
    for checkpointing in (False, True):
        model = tiny(**NO_DROPOUT).train()
        model.set_activation_checkpointing(checkpointing)
        mems = tiny(seed=5)(ids, output_hidden_states=True).hidden_states
        out = model(ids, position_ids=positions, prefix_lengths=7, labels=ids, mems=mems)
        out.loss.backward()
        grads.append({name: p.grad for name, p in model.named_parameters()})
    assert all(value is not None for value in grads[0].values())
    for name, value in grads[0].items():
        torch.testing.assert_close(grads[1][name], value)


def test_saved_and_loaded_bit_for_bit(tmp_path):
    model = tiny()
    save_model(model, tmp_path)
    again = load_model(tmp_path, task=None)
    assert again.task == "causal-lm"
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "glm"
    assert (config["num_layers"], config["max_sequence_length"]) == (3, 24)


@pytest.mark.parametrize("prefix", ["", "model.", "glm."])
def test_every_spelling_of_the_published_names_loads(prefix):
    model = tiny()
    stored = {
        name.replace("glm.", prefix, 1): value
        for name, value in model.state_dict().items()
        if name != "lm_head.weight"
    }
    other = build(model.config)
    account = load_weights(other, stored)
    assert account.tied == {"lm_head.weight": "glm.word_embeddings.weight"}
    ids, _ = blanked()
    assert torch.equal(other.eval()(ids).logits, model(ids).logits)


# Name, layers, width, heads, positions, words; and the size that the authors give.
SERIES = [
    ("base", 12, 768, 12, 512, 30592, 110e6),
    ("large-en", 24, 1024, 16, 512, 30592, 335e6),
    ("large-ch", 24, 1024, 16, 1024, 50048, 355e6),
    ("515m", 30, 1152, 18, 512, 30592, 515e6),
    ("2b", 36, 2048, 32, 1024, 50304, 2e9),
    ("10b", 48, 4096, 64, 1024, 50304, 10e9),
]


@pytest.mark.parametrize(
    ("layers", "width", "heads", "positions", "words", "size"),
    [row[1:] for row in SERIES],
    ids=[row[0] for row in SERIES],
)
def test_the_sizes_of_the_series_build(layers, width, heads, positions, words, size):
    keys = {
        "model_type": "glm",
        "num_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "max_sequence_length": positions,
        "vocab_size": words,
    }
    model = build(config_from_recipe(keys))
    count = sum(p.numel() for p in model.parameters())
    tables = (words + 2 * (positions + 1)) * width
    assert count == tables + layers * (12 * width**2 + 13 * width) + 2 * width
    assert count == pytest.approx(size, rel=0.07)


def test_flagai_s_own_config_is_read():
    data = {
        "model_type": "glm",
        "num_layers": 24,
        "vocab_size": 50048,
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "embedding_dropout_prob": 0.1,
        "attention_dropout_prob": 0.1,
        "output_dropout_prob": 0.1,
        "max_sequence_length": 1024,
        "max_memory_length": 0,
        "checkpoint_activations": False,
        "checkpoint_num_layers": 1,
        "parallel_output": True,
        "relative_encoding": False,
        "block_position_encoding": True,
        "output_predict": True,
        "spell_length": None,
        "spell_func": "lstm",
        "attention_scale": 8.0,
    }
    config = read_config(data)
    assert (config.num_hidden_layers, config.positions) == (24, 1025)
    assert config.to_dict().items() >= {k: v for k, v in data.items() if v is not None}.items()


@pytest.mark.parametrize(
    "odd", [{"relative_encoding": True}, {"max_memory_length": 64}, {"spell_length": 9}]
)
def test_what_is_not_built_is_refused_by_name(odd):
    with pytest.raises(ModelError, match=next(iter(odd))):
        read_config(TINY | odd)


def test_classes_from_the_state_that_the_config_names():
    ids, positions = blanked()
    lengths = torch.tensor([7, 4])
    for pool, at in (("cls", [0, 0]), ("start", [7, 4]), ("pad", [6, 3])):
        model = tiny("sequence-classification", pool_token=pool, num_labels=3)
        states = []
        model.glm.transformer.final_layernorm.register_forward_hook(
            lambda _, __, out, states=states: states.append(out)
        )
        out = model(ids, position_ids=positions, prefix_lengths=lengths).logits
        picked = states[0][torch.arange(2), torch.tensor(at)]
        expected = model.multichoice_head(torch.tanh(model.pool_layer(picked)))
        assert torch.equal(out, expected)


def test_inputs_that_do_not_fit_are_refused():
    model = tiny()
    ids, positions = blanked()
    mems = model(ids, output_hidden_states=True).hidden_states
    wrong = [
        ({"prefix_lengths": torch.tensor([1, 2, 3])}, "prefix_lengths has 3 numbers, expected 2"),
        ({"position_ids": positions[..., :5]}, "position_ids has shape"),
        ({"position_ids": torch.cat((positions, positions), 1)}, "position_ids has shape"),
        ({"position_ids": positions + 20}, "outside of the embedding table's 25 rows"),
        ({"visible": torch.ones(2, 1, 12, 4)}, "visible has 4 columns, but there are 12 keys"),
        ({"visible": torch.ones(2, 12, 12)}, "visible has shape"),
        ({"mems": mems[:2]}, "mems has 2 layers"),
        ({"mems": mems, "cache": model.make_cache()}, "mems and a cache"),
        ({"segment_ids": torch.ones_like(ids)}, "segment_ids"),
    ]
    for given, message in wrong:
        with pytest.raises(ModelError, match=message):
            model(ids, **given)
    with pytest.raises(ModelError, match="position_ids"):
        model(torch.ones(1, 26, dtype=torch.long))


def test_the_walk_names_every_linear_in_execution_order():
    model = tiny()
    assert_walked(model, model.blocks[0])
