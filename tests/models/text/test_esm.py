from __future__ import annotations

import pytest
import torch
import transformers

from tests.models.parity import assert_close, twin
from tfcli.models.loading import build, load_weights
from tfcli.models.registry import read_config
from tfcli.models.saving import export_tensors

SIZES = {
    "vocab_size": 33,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "position_embedding_type": "rotary",
    "pad_token_id": 1,
    "mask_token_id": 32,
    "initializer_range": 0.5,
}


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    return transformers.EsmForMaskedLM(transformers.EsmConfig(**SIZES)).eval()


def test_contacts(theirs):
    ours = twin(theirs, "masked-lm")
    ids = torch.randint(4, 31, (2, 9))
    ids[0, -1] = ids[1, 6] = 2
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    theirs.set_attn_implementation("eager")
    with torch.no_grad():
        expected = theirs.esm.predict_contacts(ids, mask)
        assert_close(ours.body.contacts(ids, mask), expected)
        alone = ours.body.contacts(ids[:1])
    assert_close(alone, expected[:1])


def test_frequencies_are_those_of_the_checkpoint(theirs):
    """Released ones were rounded; older files have them in every layer."""
    ours = twin(theirs, "masked-lm")
    stored = {name: tensor.clone() for name, tensor in export_tensors(ours)}
    rounded = stored.pop("esm.rotary_embeddings.inv_freq").half().float()
    layer = "esm.encoder.layer.{}.attention.self.rotary_embeddings.inv_freq"
    older = stored | {layer.format(0): rounded, layer.format(1): rounded}
    for tensors, expected in ((older, rounded), (stored, rounded.new_tensor([1, 0.1, 0.01, 1e-3]))):
        model = build(read_config(theirs.config.to_dict()), "masked-lm")
        load_weights(model, tensors)
        assert torch.equal(model.body.rotary.frequencies(torch.zeros(1, 1)), expected)
