"""The loss in chunks against the plain one, and what it never holds."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.models.tiny import tiny_model
from tfcli.models import chunked_loss
from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize

IDS = torch.randint(3, 20, (3, 11), generator=torch.Generator().manual_seed(0))
LABELS = IDS.masked_fill(
    torch.rand(IDS.shape, generator=torch.Generator().manual_seed(1)) < 0.3, -100
)

# What a head may be: a table of its own or the words', a cap, a scale, a bias, layers before it,
# a table that it takes from the body.
HEADS = {
    "llama": {},
    "gpt2": {},
    "gemma2": {"final_logit_softcapping": 3.0},
    "cohere": {"logit_scale": 0.3},
    "granite": {"logits_scaling": 4.0},
    "mixtral": {"output_router_logits": True, "router_aux_loss_coef": 0.5},
    "phi3": {},
    "t5": {},
    "bart": {},
    "bert": {},
    "deberta-v2": {"legacy": False},
}
TASKS = {"bert": "masked-lm", "deberta-v2": "masked-lm", "t5": "seq2seq-lm", "bart": "seq2seq-lm"}


@pytest.fixture(autouse=True)
def few_rows_at_a_time(monkeypatch):
    monkeypatch.setattr(chunked_loss, "CHUNK", 500)


def model_of(model_type, **changes):
    return tiny_model(model_type, TASKS.get(model_type, "causal-lm"), **changes)


def loss_and_gradients(model, **options):
    model.zero_grad()
    loss = model(IDS, **options).loss
    loss.backward()
    return loss.detach(), {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def assert_equal(model, **options):
    plain, wanted = loss_and_gradients(model, **options)
    loss, found = loss_and_gradients(model, **options, return_logits=False)
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-6)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("model_type", HEADS)
def test_loss_and_gradients_are_those_of_all_logits_at_once(model_type):
    model = model_of(model_type, **HEADS[model_type])
    assert_equal(model, labels=LABELS)
    assert_equal(model, labels=LABELS, num_target_tokens=40)
    whole = model(IDS, labels=LABELS)
    with torch.no_grad():
        output = model(IDS, labels=LABELS, return_logits=False)
    assert output.logits is None
    torch.testing.assert_close(output.loss, whole.loss.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.logits_of(output.last_hidden_state), whole.logits)


def test_packed_rows():
    packed = torch.tensor([[0] * 4 + [1] * 7, [0] * 11, [0] * 2 + [1] * 3 + [2] * 6])
    assert_equal(model_of("llama"), labels=LABELS, segment_ids=packed)


def test_targets_are_labels_that_are_shifted_already():
    model = model_of("mixtral", output_router_logits=True)
    shifted = torch.cat((LABELS[:, 1:], torch.full((3, 1), -100)), 1)
    whole = model(IDS, labels=LABELS)
    for return_logits in (True, False):
        found = model(IDS, targets=shifted, return_logits=return_logits)
        torch.testing.assert_close(found.loss + found.aux_loss, whole.loss)
    with pytest.raises(ModelError, match="labels or targets, not both"):
        model(IDS, labels=LABELS, targets=shifted)


@pytest.mark.parametrize("frozen", ["model.", "lm_head."])
def test_a_part_that_is_not_trained_has_no_gradients(frozen):
    model = model_of("llama", tie_word_embeddings=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    assert_equal(model, labels=LABELS)


def test_a_hook_of_a_parameter_runs_once():
    """As DDP's does, which sends a gradient to the others when it is whole."""
    model, calls = model_of("llama", tie_word_embeddings=True), []
    model.lm_head.weight.register_post_accumulate_grad_hook(calls.append)
    loss_and_gradients(model, labels=LABELS, return_logits=False)
    assert len(calls) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_keep_the_digits_of_a_mean_over_many_tokens(dtype):
    """A gradient is rounded once, and not each chunk's share in a sum of halves."""
    torch.manual_seed(0)
    half = torch.nn.Linear(16, 50, bias=False, dtype=dtype)
    states, labels = torch.randn(1, 2000, 16, dtype=dtype), torch.randint(0, 50, (1, 2000))

    def gradient(head, states):
        loss = chunked_loss.chunked_token_loss(head, states, labels, 2**20)
        (loss * 2.0**16).backward()  # as a scaler of float16 does
        return head.weight.grad.float()

    found = gradient(half, states)
    exact = gradient(copy.deepcopy(half).float(), states.float())
    assert (found - exact).norm() < 0.5 * torch.finfo(dtype).eps * exact.norm()


def test_autocast():
    model = model_of("llama")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = model(IDS, labels=LABELS).loss
        loss, found = loss_and_gradients(model, labels=LABELS, return_logits=False)
    torch.testing.assert_close(loss, plain.detach(), rtol=1e-3, atol=1e-3)
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}


def test_gradients_are_given_away_once():
    loss = model_of("llama")(IDS, labels=LABELS, return_logits=False).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="its gradients once"):
        loss.backward()


def test_heads_that_predict_no_words_say_so():
    classifier = tiny_model("bert", "sequence-classification")
    states = classifier(IDS, return_logits=False)
    assert states.logits is None
    assert states.last_hidden_state.shape[:2] == IDS.shape
    with pytest.raises(ModelError, match="its loss needs its logits"):
        classifier(IDS, labels=torch.tensor([0, 1, 0]), return_logits=False)
    with pytest.raises(ModelError, match="compared by their logits"):
        tiny_model("bert", "multiple-choice")(input_ids=IDS[:, None], return_logits=False)


class Largest(TorchDispatchMode):
    """The largest tensor that an operation gives, by its number of values."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor):
                self.numel = max(self.numel, each.numel())
        return result


@pytest.mark.parametrize("tied", [True, False])
def test_no_tensor_of_all_tokens_and_words_is_made(monkeypatch, tied):
    vocab, tokens, d = 1024, 512, 16
    monkeypatch.setattr(chunked_loss, "CHUNK", 32 * vocab)
    llama = {
        "model_type": "llama",
        "vocab_size": vocab,
        "hidden_size": d,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": tied,
    }
    model = initialize(build(config_from_recipe(llama)), seed=0)
    ids = torch.randint(0, vocab, (8, tokens // 8))

    def largest(**options):
        with Largest() as seen:
            model(ids, labels=ids, **options).loss.backward()
        return seen.numel

    assert largest() == tokens * vocab
    assert largest(return_logits=False) == 32 * vocab  # a chunk; the table has half as many
