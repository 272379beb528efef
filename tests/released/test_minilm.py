"""all-MiniLM-L6-v2 as it was released: an embedding model with sentence-transformers' files."""

from __future__ import annotations

import pytest
import torch

from tests.released.conftest import MINILM
from tfcli.checkpoints.folder import load_model
from tfcli.tokenizers.load import load_tokenizer

# The similarities that the model's card shows for its first sentence.
FIRST = "That is a happy person"
CARD = {
    "That is a happy dog": 0.6946,
    "That is a very happy person": 0.9429,
    "Today is a sunny day": 0.2569,
}


def test_the_similarities_of_the_model_card() -> None:
    model, tokenizer = load_model(MINILM, task="embedding"), load_tokenizer(MINILM)
    model.set_pooling("mean", normalize=True)

    def embed(text: str) -> torch.Tensor:
        with torch.no_grad():
            return model(input_ids=torch.tensor([tokenizer.encode(text)])).logits[0]

    first = embed(FIRST)
    for text, similarity in CARD.items():
        assert float(first @ embed(text)) == pytest.approx(similarity, abs=1e-4)
