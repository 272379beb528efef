"""Every family against transformers, on every config under cases/."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.parity import (
    CACHES,
    CAUSAL,
    MAIN,
    PAIRS,
    STEADY,
    WAYS,
    WHOLE,
    answer,
    assert_close,
    assert_same_weights,
    inputs,
    labels_for,
    our_gradients,
    pair_id,
    reference,
    rotated,
    their_gradients,
    their_labels,
    twin,
)
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, load_weights
from tfcli.models.registry import read_config
from tfcli.models.saving import export_config, export_tensors

pytestmark = pytest.mark.families

every_pair = pytest.mark.parametrize(("case", "task"), PAIRS, ids=pair_id)
every_main = pytest.mark.parametrize(("case", "task"), MAIN, ids=pair_id)
every_steady = pytest.mark.parametrize(("case", "task"), STEADY, ids=pair_id)


@every_pair
def test_forward(case, task):
    theirs = reference(case, task, attention="eager" if case.attends else None)
    ours, batch = twin(theirs, task), inputs(case, task)
    wanted = {"output_hidden_states": True, "output_attentions": case.attends}
    with torch.no_grad():
        expected, actual = theirs(**batch, **wanted), ours(**batch, **wanted)
    assert_close(actual.logits, answer(expected, task))
    own_states, other_states = actual.hidden_states, expected.hidden_states
    if not case.records_inputs:  # the first is missing, and the last block's output is there too
        own_states, other_states = own_states[1:], (*other_states[:-2], other_states[-1])
    assert len(own_states) == len(other_states)
    for own, other in zip(own_states, other_states, strict=True):
        assert_close(own, other)
    if case.attends:
        for own, other in zip(actual.attentions, expected.attentions, strict=True):
            assert_close(own, other)


@every_pair
def test_loss_and_gradients(case, task):
    theirs = reference(case, task)
    ours, batch = twin(theirs, task), inputs(case, task)
    theirs.config.use_cache = False  # some write it in place, which forbids a backward pass
    if task == "embedding":  # it has no loss: any function of the vectors will do
        # (not their sum, which is near 0 after a norm)
        actual = ours(**batch).logits.square().mean()
        expected = answer(theirs(**batch), task).square().mean()
    else:
        labels = labels_for(case, task, batch)
        actual = ours(**batch, labels=labels).loss
        expected = theirs(**batch, **their_labels(task, labels)).loss
    # A regression's loss is a square: near 0 it has no digits of its own to be relative to.
    assert abs(actual - expected) <= 2e-6 * max(expected, 1)
    expected.backward()
    actual.backward()
    own, other = our_gradients(ours), their_gradients(theirs)
    assert own.keys() == other.keys()
    largest = max(gradient.abs().max().item() for gradient in other.values())
    for name, gradient in other.items():
        assert (own[name] - gradient).abs().max() <= 2e-5 * largest, name


@pytest.mark.parametrize(("case", "task", "side"), rotated(MAIN, ["left", "right"]), ids=pair_id)
def test_padding_changes_nothing(case, task, side):
    ours = twin(reference(case, task), task)
    length, pad = min(case.length, 13), 5
    batch = inputs(case, task, rows=1, length=length)
    mask = torch.ones_like(batch["input_ids"])
    ends, dim = (pad, 0) if side == "left" else (0, pad), mask.ndim - 1
    padded = {name: pad_tokens(value, ends, dim) for name, value in batch.items()}
    padded_mask = pad_tokens(mask, ends, dim, value=0)
    # Beside a longer row, which is not padded.
    longer = inputs(case, task, rows=1, length=length + pad)
    both = {name: torch.cat((padded[name], longer[name])) for name in padded}
    both_mask = torch.cat((padded_mask, torch.ones_like(longer["input_ids"])))
    with torch.no_grad():
        alone = ours(**batch).logits
        together = ours(**both, attention_mask=both_mask).logits
        unpadded = ours(**longer).logits
    own = together[:1]
    if task not in WHOLE:
        own = own[:, pad:] if side == "left" else own[:, :length]
    assert torch.isfinite(together).all()
    if case.steady:
        assert_close(own, alone)
        assert_close(together[1:], unpadded)


def pad_tokens(x: torch.Tensor, ends: tuple[int, int], dim: int, value: int = 1) -> torch.Tensor:
    """Pad one dimension, whatever follows it."""
    widths = (0, 0) * (x.ndim - 1 - dim)
    return torch.nn.functional.pad(x, (*widths, *ends), value=value)


@every_pair
def test_right_padding_equals_theirs(case, task):
    theirs = reference(case, task)
    ours, batch = twin(theirs, task), inputs(case, task)
    mask = torch.ones_like(batch["input_ids"])
    mask[0, ..., -6:] = 0
    pad = getattr(theirs.config, "pad_token_id", None)
    if pad is not None:  # their decoders find the last token by it
        batch["input_ids"] = batch["input_ids"].masked_fill(mask == 0, pad)
    with torch.no_grad():
        expected = answer(theirs(**batch, attention_mask=mask), task, mask)
        actual = ours(**batch, attention_mask=mask).logits
    if case.leaks:  # what is left is the row beside the padded one
        mask, actual, expected = mask[1:], actual[1:], expected[1:]
    if task not in WHOLE:
        actual, expected = actual[mask.bool()], expected[mask.bool()]
    assert_close(actual, expected)


@every_main
def test_a_batch_equals_its_rows(case, task):
    ours, batch = twin(reference(case, task), task), inputs(case, task, rows=3)
    with torch.no_grad():
        together = ours(**batch).logits
        for row in range(3):
            one = {name: value[row : row + 1] for name, value in batch.items()}
            assert_close(ours(**one).logits, together[row : row + 1])


@pytest.mark.parametrize(
    ("case", "task"), [pair for pair in MAIN if pair[1] not in WHOLE], ids=pair_id
)
def test_packed_texts_equal_separate_ones(case, task):
    ours = twin(reference(case, task), task)
    batch = inputs(case, task, rows=1, length=min(case.length, 17))
    sizes = [5, 3, batch["input_ids"].shape[1] - 8]
    segments = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))[None]
    with torch.no_grad():
        if not ours.body_class.packs:
            with pytest.raises(ModelError, match="segment_ids"):
                ours(**batch, segment_ids=segments)
            return
        packed = ours(**batch, segment_ids=segments).logits
        parts = zip(*(value.split(sizes, dim=1) for value in batch.values()), strict=True)
        alone = [ours(**dict(zip(batch, part, strict=True))).logits for part in parts]
    if case.steady:
        assert_close(packed, torch.cat(alone, dim=1))


@pytest.mark.parametrize(("case", "task", "kind"), rotated(STEADY, list(CACHES)), ids=pair_id)
def test_cached_decoding_equals_one_pass(case, task, kind):
    ours, batch = twin(reference(case, task), task), inputs(case, task)
    ids = batch["input_ids"]
    steps = [7, 3] + [1] * (ids.shape[1] - 10)  # a prompt, a chunk, single tokens
    cache = CACHES[kind](ours, ids.shape[1])
    with torch.no_grad():
        parts = [ours(part, cache=cache).logits for part in ids.split(steps, dim=1)]
        whole = ours(ids).logits
    assert cache.length == ids.shape[1]
    assert_close(torch.cat(parts, dim=1), whole)


@every_steady
def test_cached_decoding_with_left_padding(case, task):
    ours = twin(reference(case, task), task)
    ids = inputs(case, task)["input_ids"]
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    cache = ours.make_cache()
    with torch.no_grad():
        parts = [ours(ids[:, :9], attention_mask=mask[:, :9], cache=cache).logits]
        for at in range(9, ids.shape[1]):
            step = ours(ids[:, at : at + 1], attention_mask=mask[:, : at + 1], cache=cache)
            parts.append(step.logits)
        alone = ours(ids[:1, 4:]).logits
    assert_close(torch.cat(parts, dim=1)[:1, 4:], alone)


@pytest.mark.parametrize(("case", "task"), [p for p in CAUSAL if p[0].their_cache], ids=pair_id)
def test_cached_decoding_equals_theirs(case, task):
    """Also where the rotation changes on the way, past the trained length."""
    theirs = reference(case, task)
    ours, batch = twin(theirs, task), inputs(case, task)
    ids, cache, past = batch["input_ids"], ours.make_cache(), None
    with torch.no_grad():
        for part in ids.split([9] + [1] * (ids.shape[1] - 9), dim=1):
            output = theirs(part, **{case.carries: past}, use_cache=True)
            past = output[case.carries]
            assert_close(ours(part, cache=cache).logits, output.logits)


@every_pair
def test_transformers_loads_the_bits_that_we_save(case, task, tmp_path):
    theirs = reference(case, task)
    ours, batch = twin(theirs, task), inputs(case, task)
    save_file(dict(export_tensors(ours)), tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(export_config(ours)))
    again, info = type(theirs).from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation=theirs.config._attn_implementation
    )
    missing = {name for name in info["missing_keys"] if not re.search(case.derived, name)}
    if task == "embedding":
        missing = {name for name in missing if "pooler" not in name}
    assert not missing
    assert not info["unexpected_keys"] and not info["mismatched_keys"]
    assert again.config.architectures == [type(theirs).__name__]
    assert_same_weights(again, theirs, but=set(info["missing_keys"]))
    # The bits of a product of few rows depend on where the weights lie in memory.
    with torch.no_grad():
        assert_close(answer(again.eval()(**batch), task), answer(theirs(**batch), task))


@every_pair
def test_we_load_what_transformers_saves(case, task, tmp_path):
    theirs = reference(case, task)
    theirs.save_pretrained(tmp_path)
    config = read_config(json.loads((tmp_path / "config.json").read_text()))
    ours = build(config)  # the task follows from the config's architectures
    account = load_weights(ours, load_file(tmp_path / "model.safetensors"))
    assert ours.task == task
    assert set(account.loaded) | set(account.tied) == set(ours.state_dict())
    assert all(re.search(case.derived, name) for name in account.skipped)
    assert not account.initialized and not account.cast
    batch = inputs(case, task)
    if task == "embedding":
        ours.set_pooling("mean", normalize=False)
    with torch.no_grad():
        assert_close(ours.eval()(**batch).logits, answer(theirs(**batch), task))


def precise_of(model, batch):
    """The last hidden states: many numbers, where a classifier's logits are few."""
    return model(**batch, output_hidden_states=True).hidden_states[-1].float()


@every_main
def test_bfloat16_is_as_near_as_theirs(case, task):
    theirs, batch = reference(case, task), inputs(case, task)
    with torch.no_grad():
        exact = precise_of(theirs, batch)
        ours = twin(theirs, task, dtype=torch.bfloat16)
        # The median: where a token goes to another expert than in float32, as it may by a
        # rounding where two are all but tied, its error says nothing of the precision.
        own_error = (precise_of(ours, batch) - exact).abs().median()
        their_error = (precise_of(theirs.bfloat16(), batch) - exact).abs().median()
    assert ours.dtype == torch.bfloat16
    assert own_error <= 1.5 * their_error + 1e-6


@pytest.mark.parametrize(("case", "task", "way"), rotated(MAIN, WAYS), ids=pair_id)
def test_backends_agree_with_eager(case, task, way):
    """The other tests run with sdpa, and compare that with their eager attention."""
    attention, mask = way
    padded = mask == "padded"
    theirs, batch = reference(case, task), inputs(case, task)
    if padded:
        batch["attention_mask"] = torch.ones_like(batch["input_ids"])
        batch["attention_mask"][0, ..., :6] = 0
    with torch.no_grad():
        expected = twin(theirs, task, attention="eager")(**batch).logits
        other = twin(theirs, task, attention=attention)
        if attention in case.refuses:
            with pytest.raises(ModelError, match=f"{attention} attention"):
                other(**batch)
            return
        actual = other(**batch).logits
        if padded and task not in WHOLE:
            real = batch["attention_mask"].bool()  # flex gives queries that see nothing zeros
            actual, expected = actual[real], expected[real]
        assert_close(actual, expected)


@pytest.mark.parametrize(("case", "task"), [p for p in PAIRS if p[0].drops_alike], ids=pair_id)
def test_dropout_falls_where_theirs_does(case, task):
    """In training, with equal seeds: as many numbers are drawn, in the same order and places."""
    theirs = reference(case, task, attention="eager").train()
    ours, batch = twin(theirs, task, attention="eager").train(), inputs(case, task)
    with torch.no_grad():
        torch.manual_seed(5)
        expected = answer(theirs(**batch), task)
        torch.manual_seed(5)
        assert_close(ours(**batch).logits, expected)


@every_main
def test_activation_checkpointing_keeps_the_gradients(case, task):
    theirs, batch = reference(case, task), inputs(case, task)
    labels = labels_for(case, task, batch)
    plain, frugal = twin(theirs, task).train(), twin(theirs, task).train()
    frugal.set_activation_checkpointing(True)
    runs = 0

    def count(*_):
        nonlocal runs
        runs += 1

    frugal.blocks[0].register_forward_pre_hook(count)
    for model in (plain, frugal):
        torch.manual_seed(3)  # the same dropout
        model(**batch, labels=labels).loss.backward()
    assert runs == 2 * case.passes  # once forward, once again in the backward pass
    own, other = our_gradients(frugal), our_gradients(plain)
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)


@every_main
def test_config_survives_the_round_trip(case, task):
    theirs = reference(case, task).config
    written = json.loads(json.dumps(read_config(theirs.to_dict()).to_dict()))
    again = type(theirs)(**type(theirs)._decode_special_floats(copy.deepcopy(written))).to_dict()
    assert without_older_keys(again) == without_older_keys(theirs.to_dict())
    assert read_config(written).to_dict() == written


def without_older_keys(config: dict[str, Any]) -> dict[str, Any]:
    """A config without what we write for older readers, and transformers 5 carries along."""
    older = ("torch_dtype", "rope_theta", "rope_scaling", "partial_rotary_factor")
    kept = {key: value for key, value in config.items() if key not in older}
    if kept.get("rope_parameters"):  # which has rope_type
        kept["rope_parameters"] = {k: v for k, v in kept["rope_parameters"].items() if k != "type"}
    return kept
