"""llama.cpp loads what we write, and says what our models say."""

import pytest
import torch

from tests.checkpoints.gguf.convert import from_gguf, to_gguf
from tests.checkpoints.gguf.folders import DECODERS, VOCAB, write_folder
from tests.checkpoints.gguf.llama_cpp import LlamaCpp
from tfcli.checkpoints.folder import load_model

pytestmark = pytest.mark.interop
PROMPT = torch.randint(1, 300, (40,), generator=torch.Generator().manual_seed(3)).tolist()
# The standard deviation of the difference, in that of the log probabilities. Inputs of 8 bits cost
# up to 0.07 in these models, whatever the type of the weights.
LIMIT = 0.1
GELU = ("gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "starcoder2")
"""Families whose activation llama.cpp looks up in a table of float16."""


def ours(model, ids):
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].float(), -1)


def converted(tmp_path, name, kind):
    """The model that the file of a type holds, in our own code, and llama.cpp with the file."""
    write_folder(tmp_path / name, name)
    # llama.cpp sets attributes of tokens by the model's name, and this vocabulary lacks them.
    to_gguf(tmp_path / name, tmp_path / "model.gguf", kind, name="tiny")
    from_gguf(tmp_path / "model.gguf", tmp_path / "back")
    return load_model(tmp_path / "back"), LlamaCpp(tmp_path / "model.gguf", VOCAB)


@pytest.mark.parametrize("kind", ["F32", "F16"])
@pytest.mark.parametrize("name", DECODERS)
def test_the_same_greedy_continuation(name, kind, tmp_path):
    model, theirs = converted(tmp_path, name, kind)
    allowed = 5e-3 if name in GELU else 5e-5
    if kind == "F16":
        allowed = 2e-2  # llama.cpp rounds the inputs of matrices to float16 too
    ids = list(PROMPT)
    for _ in range(6):
        expected, found = ours(model, ids), theirs.logprobs(ids)
        assert float((found - expected).abs().max()) < allowed
        assert int(found.argmax()) == int(expected.argmax())
        ids.append(int(found.argmax()))


@pytest.mark.parametrize("kind", ["Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"])
@pytest.mark.parametrize("name", DECODERS)
def test_logits_within_the_error_of_the_type(name, kind, tmp_path):
    """The weights are the same; llama.cpp quantizes the inputs of matrices to 8 bits too."""
    model, theirs = converted(tmp_path, name, kind)
    expected, found = ours(model, PROMPT), theirs.logprobs(PROMPT)
    assert float((found - expected).std() / expected.std()) < LIMIT


@pytest.mark.parametrize(("kind", "limit"), [("F16", 0.01), ("Q8_0", 0.1), ("Q4_0", 0.7)])
def test_logits_near_those_of_the_checkpoint(kind, limit, tmp_path):
    model = write_folder(tmp_path / "llama", "llama")
    to_gguf(tmp_path / "llama", tmp_path / "model.gguf", kind)
    found = LlamaCpp(tmp_path / "model.gguf", VOCAB).logprobs(PROMPT)
    expected = ours(model, PROMPT)
    assert float((found - expected).std() / expected.std()) < limit


def test_a_mix_of_types_loads(tmp_path):
    model = write_folder(tmp_path / "llama", "llama")
    rules = [("ffn_down", "Q5_1"), ("attn_v", "BF16"), ("token_embd|output", "F16")]
    to_gguf(tmp_path / "llama", tmp_path / "model.gguf", "Q8_0", rules)
    found = LlamaCpp(tmp_path / "model.gguf", VOCAB).logprobs(PROMPT)
    expected = ours(model, PROMPT)
    assert float((found - expected).std() / expected.std()) < 0.2


@pytest.mark.parametrize("kind", ["F32", "F16"])
def test_the_same_states_of_bert(kind, tmp_path):
    write_folder(tmp_path / "bert", "bert")
    to_gguf(tmp_path / "bert", tmp_path / "model.gguf", kind)
    found = LlamaCpp(tmp_path / "model.gguf", VOCAB, embedding=True).state(PROMPT)
    model = load_model(tmp_path / "bert", task="embedding")
    model.set_pooling("cls", normalize=False)
    with torch.no_grad():
        expected = model(torch.tensor([PROMPT])).logits[0]
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-2)
