from __future__ import annotations

import torch

from tests.models.test_loading import IDS, checkpoint
from tfcli.models.loading import build, load_weights
from tfcli.models.registry import read_config
from tfcli.models.saving import diverged_ties, export_config, export_tensors


def test_a_tied_tensor_is_written_once():
    _, tensors = checkpoint("bert", "masked-lm")
    assert "bert.embeddings.word_embeddings.weight" in tensors
    assert "cls.predictions.bias" in tensors
    assert not [name for name in tensors if "decoder" in name]


def test_a_pair_that_diverged_is_written_untied():
    model, _ = checkpoint("llama", tie_word_embeddings=True)
    model.lm_head.weight = torch.nn.Parameter(
        model.lm_head.weight.detach() + 1
    )  # an adapter's merge
    assert diverged_ties(model) == {"lm_head.weight": "model.embed_tokens.weight"}
    written = export_config(model)
    assert written["tie_word_embeddings"] is False
    again = build(read_config(written))
    load_weights(again, dict(export_tensors(model)))
    assert torch.equal(again.eval()(IDS).logits, model(IDS).logits)


def test_a_copy_that_is_equal_stays_tied():
    model, _ = checkpoint("llama", tie_word_embeddings=True)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    assert export_config(model)["tie_word_embeddings"] is True
    assert "lm_head.weight" not in dict(export_tensors(model))


def test_dtype_and_layout():
    model, _ = checkpoint("gpt2")
    tensors = dict(export_tensors(model, dtype=torch.float16))
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    assert export_config(model, dtype=torch.float16)["dtype"] == "float16"
    assert export_config(model)["architectures"] == ["GPT2LMHeadModel"]
