"""What is counted without values, beside what a real step holds."""

from __future__ import annotations

import pytest
import torch

from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.estimate.heap import Heap
from tfcli.estimate.spreading import buckets
from tfcli.estimate.training import Start, count
from tfcli.recipe.job import Job
from tfcli.train.assemble import assemble
from tfcli.train.objectives.registry import make_objective

OPTIMIZERS = (
    "adamw",
    "sgd",
    "adafactor",
    "lion",
    "muon",
    "adam-mini",
    "apollo",
    "apollo-mini",
)


def counted(spec, processes=1):
    return count(Start.of(spec), processes=processes, precision="float32", heap=None)


def stored(tensors) -> int:
    """Bytes of the storages of tensors, each once."""
    found = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(found.values())


def held(spec, folder) -> dict[str, int]:
    """What a real step leaves behind, and the gradients that it made."""
    folder.mkdir()
    run = assemble(spec, Job(Console.silent(), folder))
    loop, gradients = run.loop, 0
    update = run.strategy.update

    def seen(model, *others):
        nonlocal gradients
        gradients = stored(p.grad for p in model.parameters() if p.grad is not None)
        return update(model, *others)

    run.strategy.update = seen
    loop.train_step(0, loop.feed.step(0))
    loop.callbacks.end()
    states = [
        value
        for state in loop.optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    ]
    return {
        "weights": stored([*run.model.parameters(), *run.model.buffers()]),
        "optimizer": stored(states),
        "gradients": gradients,
    }


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_gradients_and_state_are_those_of_a_real_step(name, make_spec, tmp_path):
    spec = make_spec(optimizer={"name": name})
    found, real = counted(spec).lasting, held(spec, tmp_path / "real")
    assert {kind: found[kind] for kind in real} == real


def test_so_are_they_of_an_adapter(tiny_llama, make_spec, text_file, tmp_path):
    changes = {"config": None, "tokenizer": None, "model": str(tiny_llama), "data": str(text_file)}
    spec = make_spec(**changes, adapter={"type": "lora", "target_modules": ["q_proj"]})
    found, real = counted(spec).lasting, held(spec, tmp_path / "real")
    assert {kind: found[kind] for kind in real} == real
    assert real["gradients"] < real["weights"] / 10


def test_checkpointing_keeps_the_activations_of_one_block(make_spec):
    config = {**make_spec().config, "num_hidden_layers": 6}
    kept, made_again = (
        counted(make_spec(config=config, activation_checkpointing=again)).parts["activations"]
        for again in (False, True)
    )
    assert made_again < kept / 2


def test_gradients_are_kept_between_the_passes_of_a_step(make_spec):
    straight, added = (counted(make_spec(gradient_accumulation=passes)) for passes in (1, 4))
    assert added.parts["gradients"] == straight.lasting["gradients"]
    assert straight.parts.get("gradients", 0) < straight.lasting["gradients"]


def test_fsdp_spreads_weights_and_gradients_over_processes_that_are_not_there(make_spec):
    alone, spread = counted(make_spec()), counted(make_spec(strategy="fsdp"), 4)
    for kind in ("weights", "gradients", "optimizer"):
        assert spread.lasting[kind] == pytest.approx(alone.lasting[kind] / 4, rel=0.02), kind
    assert spread.parts["buffers"] > 0


def test_tp_cuts_the_blocks_within_a_group_and_spreads_the_rest_between_them(make_spec):
    config = {**make_spec().config, "num_attention_heads": 4, "num_key_value_heads": 4}
    alone = counted(make_spec(config=config))
    whole, spread = (counted(make_spec(config=config, strategy="tp"), n) for n in (2, 4))
    cut = {"q", "k", "v", "o", "gate", "up", "down"}
    model = Start.of(make_spec(config=config)).model(make_objective(make_spec(config=config)))
    halved = sum(
        each.nbytes
        for name, each in model.named_parameters()
        if name.split(".")[-2].removesuffix("_proj") in cut
    )
    for kind in ("weights", "gradients"):
        assert whole.lasting[kind] == alone.lasting[kind] - halved // 2, kind
        assert spread.lasting[kind] == pytest.approx(whole.lasting[kind] / 2, rel=0.02), kind


def test_zero_divides_state_then_gradients_then_weights(make_spec):
    stages = [counted(make_spec(strategy=f"zero{n}"), 8) for n in (1, 2, 3)]
    weights = [each.lasting["weights"] for each in stages]
    assert weights[0] == weights[1] == counted(make_spec()).lasting["weights"]
    assert weights[2] == pytest.approx(weights[0] / 8, rel=0.01)


def test_ddp_holds_gradients_in_buckets_too(make_spec):
    spec = make_spec(strategy="ddp")
    assert counted(spec, 2).parts["buffers"] == counted(spec, 2).lasting["gradients"]
    sizes = buckets([10 << 20, 20 << 20, 30 << 20, 1 << 20])  # they come from the end
    assert sizes == [1 << 20, 30 << 20, 30 << 20]


def test_a_heap_is_no_smaller_than_what_is_in_it(make_spec):
    made = count(Start.of(make_spec()), processes=1, precision="float32", heap=Heap())
    assert made.parts == counted(make_spec()).parts
    assert made.allocator > 0


def test_strategies_need_their_number_of_processes(make_spec):
    with pytest.raises(UsageError, match="of one process"):
        counted(make_spec(strategy="single"), 2)
    with pytest.raises(UsageError, match="of several processes"):
        counted(make_spec(strategy="ddp"), 1)
