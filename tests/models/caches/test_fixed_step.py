"""One graph serves every position of a static cache, and gives what a growing cache gives."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from tests.models.parity import CAUSAL, STEADY, assert_close, inputs, pair_id, reference, twin
from tests.models.seq2seq_parity import LM, TARGET
from tests.models.seq2seq_parity import inputs as seq2seq_inputs
from tests.models.seq2seq_parity import reference as seq2seq_reference
from tests.models.tiny import tiny_model
from tfcli.generation.step import compiled_step, plain_step
from tfcli.models.errors import ModelError

FAMILIES = ("Mistral", "Mamba", "Llama", "Gemma3Text", "GPTNeo", "Bloom", "GPT2", "OPT", "Mamba2")
FIRST = {case.config.removesuffix("Config"): case for case, _ in reversed(STEADY)}
STRETCHED = ("llama-rope-dynamic", "phi3-long")  # their rotation depends on the longest position
CASES = [FIRST[name] for name in (*FAMILIES, "Rwkv", "Qwen3_5Text", "Lfm2", "FalconH1")]
CASES += [case for case, _ in CAUSAL if case.name in STRETCHED]
PROMPT = 8


@pytest.fixture(autouse=True)
def alone():
    torch._dynamo.reset()
    with torch.no_grad():
        yield


def ready(model, ids, kind, **given):
    """A cache that has read the prompt."""
    cache = model.make_cache(kind, ids.shape[1])
    model(ids[:, :PROMPT], cache=cache, **given)
    return cache


def where(cache):
    """Where all that a cache holds lies in memory."""
    return [x.data_ptr() for store in cache.stores.values() for x in store.tensors()]


@pytest.mark.parametrize("case", CASES, ids=pair_id)
def test_a_compiled_step_serves_every_position(case):
    model = twin(reference(case, "causal-lm"), "causal-lm")
    ids = inputs(case, "causal-lm", length=17)["input_ids"]
    fixed, growing = ready(model, ids, "static"), ready(model, ids, "dynamic")
    # That what is written in place becomes operations of a graph is looked at where it is unlike.
    counter = CompileCounterWithBackend("aot_eager" if case in CASES[:2] else "eager")
    step, expected = compiled_step(model, fixed, backend=counter), plain_step(model, growing)
    places = where(fixed)
    for at in range(PROMPT, 17):
        one = ids[:, at : at + 1]
        assert_close(step(one), expected(one))
    assert counter.frame_count == 1  # fullgraph: no break; and never compiled again
    assert fixed.length == growing.length == 17
    assert where(fixed) == places  # a CUDA graph finds everything where it was
    calls = {str(node.target) for graph in counter.graphs for node in graph.graph.nodes}
    assert not calls & {"item", "tolist", "nonzero", "cpu", "aten._local_scalar_dense.default"}


@pytest.mark.parametrize(
    "case", [case for case, _ in LM if case.name in ("t5", "bart", "pegasus")], ids=pair_id
)
def test_a_decoder_that_looks_at_a_source_is_compiled_too(case):
    model = twin(seq2seq_reference(case, "seq2seq-lm"), "seq2seq-lm")
    batch = seq2seq_inputs(case, "seq2seq-lm")
    target, cache = batch["decoder_input_ids"], model.make_cache("static", TARGET)
    model(**batch | {"decoder_input_ids": target[:, :4]}, cache=cache)
    counter = CompileCounterWithBackend("eager")
    step = torch.compile(
        lambda one: model(decoder_input_ids=one, cache=cache).logits,
        fullgraph=True,
        backend=counter,
    )
    found = torch.cat([step(target[:, at : at + 1]) for at in range(4, TARGET)], 1)
    assert_close(found, model(**batch).logits[:, 4:])
    assert counter.frame_count == 1


def test_padding_on_either_side_is_part_of_the_graph():
    """A mask as wide as the cache has one shape for all steps; 1 stands for what is to come."""
    model = twin(reference(FIRST["Llama"], "causal-lm"), "causal-lm")
    ids = inputs(FIRST["Llama"], "causal-lm", rows=3, length=17)["input_ids"]
    mask = torch.ones_like(ids)
    mask[0, :3] = 0  # left
    mask[1, 5:PROMPT] = 0  # right of a shorter prompt
    cache = ready(model, ids, "static", attention_mask=mask[:, :PROMPT])
    counter = CompileCounterWithBackend("eager")
    step = torch.compile(
        lambda one: model(one, cache=cache, attention_mask=mask).logits[:, -1],
        fullgraph=True,
        backend=counter,
    )
    found = torch.stack([step(ids[:, at : at + 1]) for at in range(PROMPT, 17)], 1)
    assert counter.frame_count == 1
    for row in range(3):
        alone = model(ids[row : row + 1, mask[row].bool()]).logits[0, -9:]
        assert_close(found[row], alone)


def test_the_same_graph_goes_on_after_a_reset_a_crop_and_a_new_order():
    model = twin(reference(FIRST["Llama"], "causal-lm"), "causal-lm")
    ids = inputs(FIRST["Llama"], "causal-lm", length=17)["input_ids"]
    cache = ready(model, ids, "static")
    counter = CompileCounterWithBackend("eager")
    step = compiled_step(model, cache, backend=counter)
    step(ids[:, 8:9])
    cache.crop(6)
    assert_close(step(ids[:, 6:7]), model(ids[:, :7]).logits[:, -1])
    cache.reorder(torch.tensor([1, 0]))
    whole = torch.cat((ids.flip(0)[:, :7], ids[:, 7:8]), 1)
    assert_close(step(ids[:, 7:8]), model(whole).logits[:, -1])
    cache.reset()
    model(ids.flip(1)[:, :5], cache=cache)
    whole = torch.cat((ids.flip(1)[:, :5], ids[:, :1]), 1)
    assert_close(step(ids[:, :1]), model(whole).logits[:, -1])
    assert counter.frame_count == 1


def test_a_step_of_inference_mode_is_compiled_too():
    model = tiny_model("llama").eval()
    ids = torch.randint(4, 50, (1, 12), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        cache = model.make_cache("static", 12)
        model(ids[:, :8], cache=cache)
        step = compiled_step(model, cache, backend="eager")
        found = [step(ids[:, at : at + 1]) for at in range(8, 12)]
        assert_close(torch.stack(found, 1), model(ids).logits[:, 8:])


def test_a_full_cache_says_so_and_a_wrong_mask_too():
    model = tiny_model("llama").eval()
    cache = model.make_cache("static", 8)
    ids = torch.full((1, 8), 5)
    with pytest.raises(ModelError, match=r"attention_mask has shape \(1, 9\)"):
        model(ids, attention_mask=torch.ones(1, 9), cache=cache)
    model(ids, cache=cache)
    with pytest.raises(ModelError, match="holds 8 positions, but 9 are needed"):
        model(ids[:, :1], cache=cache)
    with pytest.raises(ModelError, match="a static cache needs a length"):
        model.make_cache("static")
    with torch.enable_grad(), pytest.raises(ModelError, match="a static cache keeps no gradients"):
        model(ids[:, :1], cache=model.make_cache("static", 8))
