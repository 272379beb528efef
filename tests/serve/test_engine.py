"""The engine: each text is the one that its prompt has alone, whatever is made beside it."""

from __future__ import annotations

import random
import threading

import pytest
import torch

from tests.generation.making import continued
from tests.models.tiny import tiny_model
from tests.serve.asking import Heard, Letters, ask
from tfcli.errors import WorkError
from tfcli.generation.rules import Rules
from tfcli.generation.sampling import Draw
from tfcli.generation.settings import TextSettings
from tfcli.serve.engine import BusyError, Engine
from tfcli.serve.passes import EngineLimits


@pytest.fixture
def engine_of():
    made = []

    def make(model, **options):
        made.append(Engine(model, Letters(), **options))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


PROMPTS = [[5, 6, 7, 8, 9, 10], [11], [12, 13, 14], [*range(20, 36)]]


@pytest.mark.parametrize("model_type", ["llama", "mistral", "gpt2", "bloom", "mamba", "qwen2_moe"])
def test_texts_beside_each_other_are_those_of_their_prompts_alone(engine_of, model_type):
    model = tiny_model(model_type)
    alone = [continued(model, prompt, max_new_tokens=10) for prompt in PROMPTS]
    engine = engine_of(model, limits=EngineLimits(part=7))
    heard = [Heard(engine, ask(prompt, 10)) for prompt in PROMPTS]
    found = [each.all() for each in heard]
    assert [ids for ids, _, _ in found] == alone
    assert [end.reason for _, _, end in found] == ["length"] * 4
    assert [text for _, text, _ in found] == [Letters().decode(ids) for ids in alone]


def test_texts_that_come_and_are_cancelled_at_random_disturb_none(engine_of):
    model, chance = tiny_model("llama"), random.Random(0)
    prompts = [[chance.randrange(60) for _ in range(chance.randrange(1, 40))] for _ in range(30)]
    lengths = [chance.randrange(1, 12) for _ in prompts]
    alone = [
        continued(model, prompt, max_new_tokens=new)
        for prompt, new in zip(prompts, lengths, strict=True)
    ]
    engine = engine_of(model, limits=EngineLimits(rows=5, part=7))
    heard = []
    for prompt, new in zip(prompts, lengths, strict=True):
        heard.append(Heard(engine, ask(prompt, new)))
        if chance.random() < 0.3:
            threading.Event().wait(0.01)
        if chance.random() < 0.3:
            engine.cancel(chance.choice(heard).row)
    ends = set()
    for each, expected in zip(heard, alone, strict=True):
        ids, _, end = each.all()
        ends.add(end.reason)
        assert ids == expected if end.reason == "length" else ids == expected[: len(ids)]
    assert ends == {"length", "cancelled"}
    while engine.unfinished:  # an end is told before the place is free
        threading.Event().wait(0.01)
    assert engine.running == 0


def test_each_text_has_its_own_rules_draws_and_stops(engine_of):
    model = tiny_model("llama")
    first, second = continued(model, [5, 6, 7], max_new_tokens=2)
    engine = engine_of(model)
    drawn = TextSettings(draw=Draw(temperature=2.0))
    heard = {
        "greedy": Heard(engine, ask([5, 6, 7], 2)),
        "stop id": Heard(engine, ask([5, 6, 7], settings=TextSettings(stop=frozenset([second])))),
        "stop text": Heard(
            engine, ask([5, 6, 7], settings=TextSettings(stop_strings=(chr(0x100 + second),)))
        ),
        "never": Heard(
            engine, ask([5, 6, 7], settings=TextSettings(rules=Rules(suppress_tokens=(first,))))
        ),
        "seed 1": Heard(engine, ask([5, 6, 7], settings=drawn, seed=1)),
        "seed 1 too": Heard(engine, ask([5, 6, 7], settings=drawn, seed=1)),
        "seed 2": Heard(engine, ask([5, 6, 7], settings=drawn, seed=2)),
    }
    found = {name: each.all() for name, each in heard.items()}
    assert found["greedy"][0] == found["stop id"][0] == [first, second]
    assert found["stop text"][1] == chr(0x100 + first)
    assert found["stop id"][2].reason == found["stop text"][2].reason == "stop"
    assert first not in found["never"][0]
    assert found["seed 1"][0] == found["seed 1 too"][0] != found["seed 2"][0]


def test_probabilities_are_the_models_own(engine_of):
    model, events = tiny_model("llama"), []
    engine = engine_of(model)
    done = threading.Event()

    def listen(event):
        events.append(event)
        if not hasattr(event, "tokens"):
            done.set()

    engine.submit(ask([5, 6, 7], 1, logprobs=3), listen)
    assert done.wait(60)
    with torch.no_grad():
        expected = model(torch.tensor([[5, 6, 7]])).logits[0, -1].log_softmax(-1)
    token = events[0].tokens[0]
    assert token.logprob == pytest.approx(float(expected.max()), abs=1e-5)
    assert [one for one, _ in token.likeliest] == expected.topk(3).indices.tolist()


class Nonsense:
    """A grammar that makes every number none."""

    def process(self, start):
        return lambda ids, logits: logits * float("nan")


def test_a_text_whose_predictions_are_not_finite_ends_alone(engine_of):
    engine = engine_of(tiny_model("llama"))
    broken = Heard(engine, ask([5], settings=TextSettings(grammar=Nonsense())))
    whole = Heard(engine, ask([5, 6]))
    end = broken.all()[2]
    assert end.reason == "error"
    assert "not finite" in str(end.error)
    assert whole.all()[2].reason == "length"


def test_what_cannot_be_made_is_refused_at_once(engine_of):
    engine = engine_of(tiny_model("llama"), limits=EngineLimits(rows=1, waiting=1, positions=64))
    with pytest.raises(WorkError, match="65 positions"):
        engine.submit(ask([5] * 60, 5), print)
    first = [Heard(engine, ask([5, 6], 60)) for _ in range(2)]
    with pytest.raises(BusyError, match="wait"):
        Heard(engine, ask([5, 6], 60))
    engine.close()
    assert {each.all()[2].reason for each in first} <= {"cancelled", "length"}
    with pytest.raises(BusyError, match="ends"):
        Heard(engine, ask([5]))


def test_a_text_ends_when_its_time_is_over(engine_of):
    engine = engine_of(tiny_model("llama"))
    assert Heard(engine, ask([5], 50, max_time=1e-9)).all()[2].reason == "time"
