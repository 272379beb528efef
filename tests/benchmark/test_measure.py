"""What a process measures of a model, measured here."""

import pytest
import torch

from tests.models.tiny import tiny_model
from tfcli.benchmark.energy import Meter
from tfcli.benchmark.measure import measure
from tfcli.benchmark.memory import held_memory, peak_memory, private_memory
from tfcli.benchmark.sides.own import OwnSide
from tfcli.benchmark.task import Task
from tfcli.benchmark.work import count_work, weights_of

PARAMETERS = 320 * 64 + 2 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 128 + 2 * 64) + 64
LINEARS = 2 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 128)


def task(model, case, **changes):
    given = {
        "side": "tfcli",
        "case": case,
        "model": str(model),
        "batch_size": 2,
        "length": 16,
        "new_tokens": 5 if case == "decode" else 1,
        "cache": "dynamic",
        "repeats": 3,
        "threads": torch.get_num_threads(),
        "load_in": None,
        "dtype": "auto",
        "device": "cpu",
        "attention": "sdpa",
        "family_file": None,
    }
    return Task(**{**given, **changes})


@pytest.mark.parametrize("case", ["load", "start", "first-token", "prefill", "decode", "train"])
def test_every_case_has_its_times(tiny_llama, case):
    answer = measure(task(tiny_llama, case), OwnSide)
    assert len(answer.seconds) == (1 if case == "start" else 3) and min(answer.seconds) > 0
    assert answer.peak_bytes >= answer.private_bytes > 0 and answer.device_bytes is None
    assert bool(answer.memory) == (case not in ("load", "start"))


def test_what_decoding_reads_is_the_weights_once_and_the_cache(tiny_llama):
    answer = measure(task(tiny_llama, "decode"), OwnSide)
    # The head is tied to the table, and read whole. Norms are no products. The cache is that of
    # the middle of the new tokens: 16 of the prompt, 2 steps, and the one that is counted.
    cache = 2 * 2 * 2 * 16 * 2 * (16 + 2 + 1) * 4
    assert answer.work == (LINEARS + 320 * 64) * 4 + cache
    assert answer.memory["weights"] == PARAMETERS * 4
    assert answer.memory["cache"] >= 2 * 2 * 2 * 16 * 2 * (16 + 4) * 4  # and room for more


def test_what_a_prompt_multiplies(tiny_llama):
    answer = measure(task(tiny_llama, "prefill"), OwnSide)
    assert answer.work == 2 * (2 * 16 * LINEARS + 2 * 320 * 64)  # the head sees last positions


def test_training_is_counted_three_times_and_has_the_five_parts(tiny_llama):
    answer = measure(task(tiny_llama, "train"), OwnSide)
    assert answer.work == 3 * 2 * 2 * 16 * (LINEARS + 320 * 64)
    memory, size = answer.memory, PARAMETERS * 4
    assert (memory["weights"], memory["gradients"]) == (size, size)
    # Two moments of each weight, and a step of each tensor.
    assert 2 * size <= memory["optimizer"] <= 2 * size + 4 * 30
    assert memory["activations"] > 2 * 16 * 320 * 4  # the logits' at least
    assert memory["cache"] == 0 and memory["temporary"] >= 0


def test_more_text_keeps_more_for_the_backward_pass(tiny_llama):
    short, long = (
        measure(task(tiny_llama, "train", length=size, repeats=1), OwnSide).memory["activations"]
        for size in (16, 64)
    )
    assert 3 < long / short < 5


def test_the_type_and_the_cache_are_those_asked_for(tiny_llama):
    answer = measure(task(tiny_llama, "decode", dtype="bfloat16"), OwnSide)
    assert answer.memory["weights"] == PARAMETERS * 2
    static = measure(task(tiny_llama, "decode", cache="static"), OwnSide).memory["cache"]
    assert static == pytest.approx(2 * 2 * 2 * 16 * 2 * (16 + 5) * 4, abs=1000)


def test_a_mixture_reads_the_experts_that_are_chosen():
    model = tiny_model("mixtral")
    one, many = torch.zeros(1, 1, dtype=torch.int64), torch.arange(32)[None]
    with torch.inference_mode():
        few = count_work(model, lambda: model(one)).weight_bytes
        most = count_work(model, lambda: model(many)).weight_bytes
    assert few < most < weights_of(model)


def test_packed_weights_count_as_they_are_held(tiny_llama):
    dense = measure(task(tiny_llama, "decode"), OwnSide)
    packed = measure(task(tiny_llama, "decode", load_in="4bit"), OwnSide)
    assert packed.memory["weights"] < 0.6 * dense.memory["weights"]
    table = 320 * 64 * 4  # the head's, which stays dense
    assert packed.work - table < 0.4 * (dense.work - table)


@pytest.mark.parametrize(("case", "joules"), [("prefill", 16), ("first-token", 16), ("decode", 1)])
def test_energy_is_that_of_what_is_timed(tiny_llama, monkeypatch, case, joules):
    """Of a side that takes a joule for each token of a text: the prompt's is not decoding's."""
    used = 0.0

    class Side(OwnSide):
        def forward(self, ids, cache):
            nonlocal used
            used += ids.shape[1]
            return super().forward(ids, cache)

    monkeypatch.setattr(
        "tfcli.benchmark.measure.find_meter", lambda device: Meter("a meter", lambda: used, None)
    )
    assert measure(task(tiny_llama, case), Side).joules == pytest.approx(joules)


def test_memory_is_that_of_this_process():
    before = peak_memory()
    held = bytearray(b"x" * 200_000_000)
    assert peak_memory() >= private_memory() >= len(held)
    assert held_memory() >= private_memory()
    assert peak_memory() >= before
