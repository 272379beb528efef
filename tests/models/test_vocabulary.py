"""Vocabularies of another size: old rows, shapes and outputs beside those of transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.models import parity, seq2seq_parity
from tests.models.tiny import FIRST, TEXT, tiny_model
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, load_weights
from tfcli.models.model import Model
from tfcli.models.registry import read_config
from tfcli.models.saving import export_config, export_tensors
from tfcli.models.vocabulary import resize_vocabulary

LM = ("causal-lm", "masked-lm", "seq2seq-lm")
# Theirs leaves the bias of ESM's head as it was, and then fails; it gives FSMT's two vocabularies
# as many words.
APART = ("esm", "fsmt")
FAMILIES = [n for n in TEXT if n not in APART and n in FIRST and FIRST[n].tasks[0] in LM]


def pair(model_type: str) -> tuple[torch.nn.Module, Model, dict[str, Any]]:
    """The transformers model, ours with its weights, and inputs."""
    case = FIRST[model_type]
    task = case.tasks[0]
    harness = seq2seq_parity if task == "seq2seq-lm" else parity
    theirs = harness.reference(case, task)
    return theirs, parity.twin(theirs, task), harness.inputs(case, task)


def logits(model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad():
        return model(**batch).logits


def check_beside_transformers(model_type: str, change: int) -> None:
    theirs, ours, batch = pair(model_type)
    if change < 0:
        batch = {name: value.clamp(max=8) for name, value in batch.items()}
    if getattr(FIRST[model_type], "parts", False):
        theirs.config.tie_word_embeddings = False  # theirs would tie a head that is not tied
    old, rows = ours.config.vocab_size, ours.config.vocab_size + change
    before = logits(ours, batch)
    resize_vocabulary(ours, rows, start="zero")
    theirs.resize_token_embeddings(rows, mean_resizing=False)
    expected = parity.checkpoint_of(theirs)
    written = dict(export_tensors(ours))
    assert written.keys() <= expected.keys()
    for name, tensor in written.items():
        assert tensor.shape == expected[name].shape, name
        kept = [slice(min(old, rows)) if size == rows else slice(None) for size in tensor.shape]
        assert torch.equal(tensor[tuple(kept)], expected[name][tuple(kept)]), name
    after = logits(ours, batch)
    assert after.shape[-1] == rows == ours.config.vocab_size
    torch.testing.assert_close(after[..., :old], before[..., :rows], rtol=1e-5, atol=1e-5)
    assert logits(theirs, batch).shape == after.shape


@pytest.mark.families
@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_family_grows_as_in_transformers(model_type):
    check_beside_transformers(model_type, 5)


@pytest.mark.parametrize("model_type", ["llama", "bert", "bart"])
def test_families_shrink_as_in_transformers(model_type):
    check_beside_transformers(model_type, -2)


@pytest.mark.parametrize("model_type", ["llama", "bert", "bart", "t5", "opt"])
def test_what_is_written_is_read_again(model_type):
    _, ours, batch = pair(model_type)
    resize_vocabulary(ours, ours.config.vocab_size + 3)
    again = build(read_config(export_config(ours)), ours.task)
    load_weights(again, dict(export_tensors(ours)))
    assert torch.equal(logits(again.eval(), batch), logits(ours, batch))


@pytest.mark.parametrize("tied", [True, False])
def test_tied_rows_stay_tied_and_train_together(tied):
    model = tiny_model("llama", tie_word_embeddings=tied)
    old = model.config.vocab_size
    resize_vocabulary(model, old + 2)
    table, head = model.model.embed_tokens, model.lm_head
    assert (table.weight is head.weight) == tied
    assert table.num_embeddings == head.out_features == old + 2
    ids = torch.tensor([[5, old, old + 1, 6]])
    model(ids, labels=ids).loss.backward()
    assert table.weight.grad[old].abs().sum() > 0
    assert model.body.config is model.config


def test_new_rows_start_as_asked():
    def rows(start: str, seed: int = 0) -> tuple[torch.Tensor, Model]:
        model = tiny_model("bert")
        with torch.no_grad():
            model.cls["predictions"].bias.normal_()
        resize_vocabulary(model, model.config.vocab_size + 400, start=start, seed=seed)
        return model.bert.embeddings.word_embeddings.weight.detach(), model

    table, model = rows("mean")
    torch.testing.assert_close(table[-400:], table[:-400].mean(0).expand(400, -1))
    bias = model.cls["predictions"].bias
    torch.testing.assert_close(bias[-400:], bias[:-400].mean().expand(400))
    assert model.cls["predictions"].decoder.bias is bias
    table, model = rows("zero")
    assert not table[-400:].any() and not model.cls["predictions"].bias[-400:].any()
    table, model = rows("normal")
    std = model.config.initializer_range
    assert abs(table[-400:].std() / std - 1) < 0.05 and abs(table[-400:].mean()) < std / 10
    assert not model.cls["predictions"].bias[-400:].any()
    assert torch.equal(table, rows("normal")[0])
    assert not torch.equal(table[-400:], rows("normal", seed=1)[0][-400:])


def test_rows_are_filled_up_to_a_multiple():
    model = tiny_model("gpt2", vocab_size=61, bos_token_id=1, eos_token_id=2)
    resize_vocabulary(model, 65, pad_to_multiple_of=16)
    assert model.config.vocab_size == 80
    assert logits(model, {"input_ids": torch.tensor([[79]])}).shape == (1, 1, 80)


def test_a_tables_dtype_and_what_is_frozen_stay():
    model = tiny_model("llama").to(torch.bfloat16).requires_grad_(False)
    resize_vocabulary(model, model.config.vocab_size + 1)
    assert model.dtype == model.lm_head.weight.dtype == torch.bfloat16
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_two_vocabularies_are_resized_apart():
    separate = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 70}
    model = tiny_model("marian", **separate)
    source = model.config.vocab_size
    resize_vocabulary(model, source + 4)
    assert (model.config.vocab_size, model.config.decoder_vocab_size) == (source + 4, 70)
    resize_vocabulary(model, source + 4, decoder_rows=77)
    tables = (model.model.encoder.embed_tokens, model.model.decoder.embed_tokens)
    assert [table.num_embeddings for table in tables] == [source + 4, 77]
    assert model.lm_head.out_features == model.final_logits_bias.shape[-1] == 77
    ids = torch.tensor([[source + 3, 0]])
    assert model(ids, decoder_input_ids=torch.tensor([[76]])).logits.shape == (1, 1, 77)


def test_what_cannot_be_resized_is_refused_and_left_alone():
    model = tiny_model("llama", bos_token_id=1, eos_token_id=[2, 40])
    size = model.config.vocab_size
    refused = [
        ({"rows": 40}, "eos_token_id .* would have no row among 40"),
        ({"rows": 0}, "at least one row"),
        ({"rows": 99, "pad_to_multiple_of": 0}, "at least one row"),
        ({"rows": 99, "decoder_rows": 99}, "no vocabulary of its own"),
        ({"rows": 99, "start": "men"}, "unknown start 'men'"),
    ]
    for arguments, what in refused:
        with pytest.raises(ModelError, match=what):
            resize_vocabulary(model, **arguments)
    model.lm_head = torch.nn.Sequential(model.lm_head)
    with pytest.raises(ModelError, match=r"lm_head.weight is not what its family makes"):
        resize_vocabulary(model, 99)
    assert model.config.vocab_size == model.model.embed_tokens.num_embeddings == size
