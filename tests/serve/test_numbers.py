"""Vectors and scores, of models that make no text."""

from __future__ import annotations

import httpx
import openai
import pytest
import torch

import tfcli
from tests.serve.conftest import serving
from tfcli.checkpoints.folder import save_model
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config

BERT = {
    "model_type": "bert",
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
TEXTS = ["The sky is blue.", "A dog.", "Number 7 and more of it."]


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_tokenizer):
    found = {}
    for task, labels in (("masked-lm", {}), ("sequence-classification", {"0": "fits"})):
        config = read_config({**BERT, **({"id2label": labels} if labels else {})})
        found[task] = tmp_path_factory.mktemp("numbers") / task
        save_model(initialize(build(config, task), 0), found[task], tokenizer_from=tiny_tokenizer)
    return found


@pytest.fixture(scope="module")
def numbers(folders, chat_llama):
    models = [f"vectors={folders['masked-lm']}", f"scores={folders['sequence-classification']}"]
    with serving(*models, f"tiny={chat_llama}") as server:
        yield server


def test_vectors_are_those_of_embed(numbers, folders):
    client = openai.OpenAI(base_url=f"{numbers.url}/v1", api_key="none", max_retries=0)
    found = client.embeddings.create(model="vectors", input=TEXTS)
    expected = tfcli.load(folders["masked-lm"], task="embedding").embed(TEXTS)
    vectors = torch.tensor([each.embedding for each in found.data])
    assert torch.allclose(vectors, expected, atol=1e-5)
    plain = client.embeddings.create(model="vectors", input=TEXTS[0], encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(vectors[0].tolist(), abs=1e-5)
    for wrong in ("", "a " * 100):
        with pytest.raises(openai.BadRequestError, match="tokens"):
            client.embeddings.create(model="vectors", input=[wrong, [1] * 65])
    with pytest.raises(openai.BadRequestError, match="makes text"):
        client.embeddings.create(model="tiny", input="a")
    with pytest.raises(openai.BadRequestError, match="makes no text"):
        client.completions.create(model="vectors", prompt="a")


@pytest.mark.parametrize("model", ["scores", "vectors"])
def test_documents_are_ranked(numbers, folders, model):
    body = {"model": model, "query": "The sky", "documents": TEXTS, "top_n": 2}
    found = httpx.post(f"{numbers.url}/v1/rerank", json=body).json()["results"]
    if model == "scores":
        loaded = tfcli.load(folders["sequence-classification"], task="sequence-classification")
        pairs = [loaded.tokenizer.batch(["The sky"], [text]) for text in TEXTS]
        with torch.no_grad():
            expected = [
                loaded.model(torch.tensor(pair.ids)).logits.sigmoid().item() for pair in pairs
            ]
    else:
        vectors = tfcli.load(folders["masked-lm"], task="embedding").embed(["The sky", *TEXTS])
        expected = (vectors[1:] @ vectors[0]).tolist()
    order = sorted(range(3), key=lambda number: -expected[number])[:2]
    assert [each["index"] for each in found] == order
    assert [each["relevance_score"] for each in found] == pytest.approx(
        [expected[number] for number in order], abs=1e-5
    )
