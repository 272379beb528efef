"""Every encoder-decoder against transformers, on every config of cases/seq2seq.py."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.cache_utils import EncoderDecoderCache

from tests.models.parity import (
    WAYS,
    answer,
    assert_close,
    assert_same_weights,
    our_gradients,
    pair_id,
    rotated,
    their_gradients,
    their_labels,
    twin,
)
from tests.models.seq2seq_parity import (
    CACHES,
    LM,
    PAIRS,
    SOURCE,
    TARGET,
    WHOLE,
    inputs,
    labels_of,
    reference,
)
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, load_weights
from tfcli.models.model import Model
from tfcli.models.registry import read_config
from tfcli.models.saving import export_config, export_tensors

pytestmark = pytest.mark.families

every_pair = pytest.mark.parametrize(("case", "task"), PAIRS, ids=pair_id)
every_whole = pytest.mark.parametrize(
    ("case", "task"), [pair for pair in LM if pair[0].whole], ids=pair_id
)
every_lm = pytest.mark.parametrize(("case", "task"), LM, ids=pair_id)


@every_pair
def test_forward(case, task):
    theirs = reference(case, task, attention="eager")
    ours, batch = twin(theirs, task), inputs(case, task)
    wanted = {"output_hidden_states": True, "output_attentions": True}
    with torch.no_grad():
        expected, actual = theirs(**batch, **wanted), ours(**batch, **wanted)
    assert_close(actual.logits, answer(expected, task))
    names = {
        "hidden_states": "decoder_hidden_states",
        "attentions": "decoder_attentions",
        "cross_attentions": "cross_attentions",
        "encoder_hidden_states": "encoder_hidden_states",
        "encoder_attentions": "encoder_attentions",
    }
    if "decoder_hidden_states" not in expected:  # a task of the encoder alone
        names = {"hidden_states": "hidden_states", "attentions": "attentions"}
    else:
        assert_close(actual.encoder_last_hidden_state, expected.encoder_last_hidden_state)
    if not case.attends:
        names = {own: other for own, other in names.items() if own != "encoder_attentions"}
    for own, other in names.items():
        assert len(actual[own]) == len(expected[other]) > 0
        for mine, yours in zip(actual[own], expected[other], strict=True):
            assert_close(mine, yours)


@every_pair
def test_loss_and_gradients(case, task):
    theirs = reference(case, task)
    ours, batch = twin(theirs, task), inputs(case, task)
    if task == "embedding":  # it has no loss: any function of the vectors will do
        actual, expected = ours(**batch).logits.sum(), answer(theirs(**batch), task).sum()
    else:
        labels = labels_of(case, task, batch)
        if case.whole:
            batch.pop("decoder_input_ids", None)  # they follow from the labels
        actual = ours(**batch, labels=labels).loss
        expected = theirs(**batch, **their_labels(task, labels)).loss
    # A regression's loss is a square: near 0 it has no digits of its own to be relative to.
    assert abs(actual - expected) <= 2e-6 * max(expected, 1)
    expected.backward()
    actual.backward()
    own, other = our_gradients(ours), their_gradients(theirs)
    frozen = {name for name, p in theirs.named_parameters() if not p.requires_grad}
    if not case.whole:
        frozen |= {name for name in other if name.endswith("embed_positions.weight")}
    assert own.keys() == other.keys() - frozen
    largest = max(gradient.abs().max().item() for gradient in other.values())
    for name, gradient in own.items():
        assert (other[name] - gradient).abs().max() <= 2e-5 * largest, name


@every_lm
def test_the_loss_of_a_target_that_is_given(case, task):
    theirs = reference(case, task)
    ours, batch = twin(theirs, task), inputs(case, task)
    batch["labels"] = labels_of(case, task, batch)
    with torch.no_grad():
        assert_close(ours(**batch).loss, theirs(**batch).loss, 2e-6)
        half = ours(**batch, num_target_tokens=2 * (batch["labels"] != -100).sum()).loss
        assert_close(half, theirs(**batch).loss / 2, 2e-6)


@pytest.mark.parametrize("side", ["left", "right"])
@every_pair
def test_padding_of_the_source_changes_nothing(case, task, side):
    ours = twin(reference(case, task), task)
    long, pad = inputs(case, task), 5
    short = {**long, "input_ids": long["input_ids"][:1, pad:]}
    if task == "embedding" and "decoder_input_ids" in long:
        long["decoder_input_ids"] = long["decoder_input_ids"][:, :TARGET]
    if "decoder_input_ids" in long:
        short["decoder_input_ids"] = long["decoder_input_ids"][:1]
    ends = (pad, 0) if side == "left" else (0, pad)
    padded = F.pad(short["input_ids"], ends, value=ours.config.text.pad_token_id)
    mask = torch.ones(2, SOURCE, dtype=torch.long)
    mask[0] = F.pad(torch.ones(1, SOURCE - pad, dtype=torch.long), ends, value=0)
    both = {**long, "input_ids": torch.cat((padded, long["input_ids"][1:]))}
    with torch.no_grad():
        alone, unpadded = ours(**short).logits, ours(**long).logits
        together = ours(**both, attention_mask=mask).logits
    own = together[:1]
    if task not in WHOLE and "decoder_input_ids" not in long:
        own = own[:, mask[0].bool()]
    assert torch.isfinite(together).all()
    assert_close(own, alone)
    assert_close(together[1:], unpadded[1:])


@pytest.mark.parametrize(("case", "task", "side"), rotated(LM, ["left", "right"]), ids=pair_id)
def test_padding_of_the_target_changes_nothing(case, task, side):
    ours = twin(reference(case, task), task)
    batch, pad = inputs(case, task), 4
    target = batch["decoder_input_ids"][:1, pad:].clone()
    ends = (pad, 0) if side == "left" else (0, pad)
    batch["decoder_input_ids"][:1] = F.pad(target, ends, value=ours.config.text.pad_token_id)
    mask = torch.ones(2, TARGET, dtype=torch.long)
    mask[:1] = F.pad(torch.ones_like(target), ends, value=0)
    with torch.no_grad():
        alone = ours(input_ids=batch["input_ids"][:1], decoder_input_ids=target).logits
        together = ours(**batch, decoder_attention_mask=mask).logits
    assert_close(together[:1, mask[0].bool()], alone)


@every_pair
def test_right_padding_equals_theirs(case, task):
    theirs = reference(case, task)
    ours, batch = twin(theirs, task), inputs(case, task)
    mask = torch.ones_like(batch["input_ids"])
    mask[0, -6:] = 0
    batch["input_ids"][0, -7] = theirs.config.eos_token_id
    batch["input_ids"] = batch["input_ids"].masked_fill(mask == 0, theirs.config.pad_token_id)
    own, real, pooled = {}, mask.bool(), mask
    if "decoder_input_ids" in batch:
        target = torch.ones_like(batch["decoder_input_ids"])
        target[0, -3:] = 0
        own["decoder_attention_mask"], real, pooled = target, target.bool(), target
    with torch.no_grad():
        expected = answer(theirs(**batch, attention_mask=mask, **own), task, pooled)
        actual = ours(**batch, attention_mask=mask, **own).logits
    if task not in WHOLE:
        actual, expected = actual[real], expected[real]
    assert_close(actual, expected)


@every_pair
def test_a_batch_equals_its_rows(case, task):
    ours, batch = twin(reference(case, task), task), inputs(case, task, rows=3)
    with torch.no_grad():
        together = ours(**batch).logits
        for row in range(3):
            one = {name: value[row : row + 1] for name, value in batch.items()}
            assert_close(ours(**one).logits, together[row : row + 1])


@every_whole
def test_embeddings_in_place_of_ids(case, task):
    theirs = reference(case, task)
    ours, batch = twin(theirs, task), inputs(case, task)
    ids = batch.pop("input_ids")
    with torch.no_grad():
        embeds = torch.randn(2, SOURCE, 32, generator=torch.Generator().manual_seed(3))
        assert_close(
            ours(inputs_embeds=embeds, **batch).logits, theirs(inputs_embeds=embeds, **batch).logits
        )
        decoder = ours.body.decoder
        target = decoder.embed_tokens(batch["decoder_input_ids"]) * getattr(decoder, "scale", 1.0)
        given = ours(input_ids=ids, decoder_inputs_embeds=target).logits
        assert_close(given, ours(input_ids=ids, **batch).logits)


def masked_source(ours: Model, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Cut the first row of the source short, and return the mask that says so."""
    mask = torch.ones_like(batch["input_ids"])
    mask[0, -4:] = 0
    batch["input_ids"] = batch["input_ids"].masked_fill(mask == 0, ours.config.text.pad_token_id)
    return mask


@pytest.mark.parametrize("kind", CACHES)
@every_lm
def test_cached_decoding_equals_one_pass(case, task, kind):
    ours, batch = twin(reference(case, task), task), inputs(case, task)
    target, mask = batch["decoder_input_ids"], masked_source(ours, batch)
    steps = [5, 2] + [1] * (TARGET - 7)  # a beginning, a chunk, single tokens
    cache = CACHES[kind](ours)
    with torch.no_grad():
        whole = ours(**batch, attention_mask=mask).logits
        states = ours.encode(batch["input_ids"], mask)
        parts = []
        for part in target.split(steps, dim=1):
            given = {} if cache.source else {"encoder_states": states}  # needed once
            step = ours(decoder_input_ids=part, attention_mask=mask, cache=cache, **given)
            parts.append(step.logits)
    assert cache.length == TARGET
    layers = ours.config.text.cached_layers // 2
    assert [slot for _, slot in cache.stores] == ["attention", "source"] * layers
    assert_close(torch.cat(parts, dim=1), whole)


@every_whole
def test_cached_decoding_equals_theirs(case, task):
    theirs = reference(case, task)
    ours, batch = twin(theirs, task), inputs(case, task)
    target, mask = batch.pop("decoder_input_ids"), masked_source(ours, batch)
    cache = ours.make_cache()
    past = EncoderDecoderCache(transformers.DynamicCache(), transformers.DynamicCache())
    with torch.no_grad():
        for part in target.split([3] + [1] * (TARGET - 3), dim=1):
            given = {**batch, "decoder_input_ids": part, "attention_mask": mask}
            output = theirs(**given, past_key_values=past, use_cache=True)
            assert_close(ours(**given, cache=cache).logits, output.logits)


@every_lm
def test_a_cache_can_be_used_again(case, task):
    ours, batch = twin(reference(case, task), task), inputs(case, task)
    other = {**batch, "input_ids": batch["input_ids"].flip(1)}
    cache = ours.make_cache("static", TARGET)
    with torch.no_grad():
        ours(**batch, cache=cache)
        cache.reset()
        assert_close(ours(**other, cache=cache).logits, ours(**other).logits)


@every_lm
def test_the_encoder_is_not_run_twice(case, task):
    ours, batch = twin(reference(case, task), task), inputs(case, task)
    ids = batch.pop("input_ids")
    with torch.no_grad():
        whole = ours(input_ids=ids, **batch)
        assert torch.equal(ours.encode(ids), whole.encoder_last_hidden_state)
        ours.body.encoder.register_forward_pre_hook(lambda *_: pytest.fail("it ran"))
        again = ours(encoder_states=whole.encoder_last_hidden_state, **batch)
        last = ours(encoder_states=whole.encoder_last_hidden_state, logits_to_keep=2, **batch)
    assert torch.equal(again.logits, whole.logits)
    assert_close(last.logits, whole.logits[:, -2:])


@every_pair
def test_transformers_loads_the_bits_that_we_save(case, task, tmp_path):
    theirs = reference(case, task)
    ours, batch = twin(theirs, task), inputs(case, task)
    save_file(dict(export_tensors(ours)), tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(export_config(ours)))
    again, info = type(theirs).from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation=case.attention
    )
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert again.config.architectures == [type(theirs).__name__]
    assert_same_weights(again, theirs)
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
    filled = {*account.loaded, *account.tied, *account.computed}
    assert filled >= set(ours.state_dict())
    assert all("embed_positions" in name for name in account.computed)
    assert not account.skipped and not account.initialized and not account.cast
    batch = inputs(case, task)
    if task == "embedding":
        ours.set_pooling("mean", normalize=False)
    with torch.no_grad():
        assert_close(ours.eval()(**batch).logits, answer(theirs(**batch), task))


@every_lm
def test_bfloat16_is_as_near_as_theirs(case, task):
    theirs, batch = reference(case, task), inputs(case, task)
    with torch.no_grad():
        exact = answer(theirs(**batch), task)
        ours = twin(theirs, task, dtype=torch.bfloat16)
        own = ours(**batch).logits
        own_error = (own.float() - exact).abs().mean()
        their_error = (answer(theirs.bfloat16()(**batch), task).float() - exact).abs().mean()
    assert ours.dtype == own.dtype == torch.bfloat16
    assert own_error <= 1.5 * their_error + 1e-6


@pytest.mark.parametrize(("case", "task", "way"), rotated(LM, WAYS), ids=pair_id)
def test_backends_agree_with_eager(case, task, way):
    """The other tests run with sdpa, and compare that with their eager attention."""
    attention, mask = way
    padded = mask == "padded"
    theirs, batch = reference(case, task), inputs(case, task)
    if padded:
        batch["attention_mask"] = torch.ones_like(batch["input_ids"])
        batch["attention_mask"][0, :6] = 0
        batch["decoder_attention_mask"] = torch.ones_like(batch["decoder_input_ids"])
        batch["decoder_attention_mask"][0, :3] = 0
    with torch.no_grad():
        expected = twin(theirs, task, attention="eager")(**batch).logits
        other = twin(theirs, task, attention=attention)
        if attention in case.refuses:
            with pytest.raises(ModelError, match=f"{attention} attention"):
                other(**batch)
            return
        actual = other(**batch).logits
        if padded:
            # flex gives queries that see nothing zeros
            real = batch["decoder_attention_mask"].bool()
            actual, expected = actual[real], expected[real]
        assert_close(actual, expected)


@every_pair
def test_activation_checkpointing_keeps_the_gradients(case, task):
    theirs, batch = reference(case, task), inputs(case, task)
    plain, frugal = twin(theirs, task).train(), twin(theirs, task).train()
    frugal.set_activation_checkpointing(True)
    runs: dict[int, int] = {}

    def count(block: nn.Module, *_: Any) -> None:
        runs[id(block)] = runs.get(id(block), 0) + 1

    for block in frugal.blocks:
        block.register_forward_pre_hook(count)
    for model in (plain, frugal):
        torch.manual_seed(3)  # the same dropout
        if task == "embedding":
            model(**batch).logits.sum().backward()
        else:
            model(**batch, labels=labels_of(case, task, batch)).loss.backward()
    assert set(runs.values()) == {2}  # once forward, once again in the backward pass
    assert len(runs) == len(frugal.blocks) > 1
    own, other = our_gradients(frugal), our_gradients(plain)
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)


@every_pair
def test_config_survives_the_round_trip(case, task):
    theirs = reference(case, task).config
    written = json.loads(json.dumps(read_config(theirs.to_dict()).to_dict()))
    again = type(theirs)(**copy.deepcopy(written)).to_dict()
    again.pop("torch_dtype", None)  # the older spelling
    assert again == theirs.to_dict()
    assert read_config(written).to_dict() == written
