"""Drafts from the text itself: the same texts, in fewer passes."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from openai import OpenAI

from tests.generation.making import continued
from tests.models.tiny import tiny_model
from tests.serve.asking import Heard, Letters, ask
from tests.serve.conftest import serving
from tfcli.checkpoints.folder import save_model
from tfcli.errors import UsageError
from tfcli.generation.rules import Rules
from tfcli.generation.sampling import Draw
from tfcli.generation.settings import TextSettings
from tfcli.generation.strategies.drafters import looked_up
from tfcli.generation.strategies.settings import DraftSettings
from tfcli.serve.engine import Engine
from tfcli.serve.passes import EngineLimits

LOOKUP = DraftSettings(prompt_lookup_num_tokens=3)
PROMPTS = [[5, 6, 7, 5, 6, 7, 5, 6], [11], [12, 13, 14, 12], [*range(20, 36), 20, 21]]


@pytest.fixture
def engine_of():
    made = []

    def make(model):
        made.append(Engine(model, Letters(), EngineLimits(waiting=1000)))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "bloom", "qwen2_moe"])
def test_texts_are_those_without_drafts(engine_of, model_type):
    model = tiny_model(model_type)
    new = 12
    plain = [continued(model, prompt, max_new_tokens=new) for prompt in PROMPTS]
    engine = engine_of(model)
    settings = TextSettings(drafts=LOOKUP)
    heard = [Heard(engine, ask(prompt, new, settings=settings)) for prompt in PROMPTS]
    found = [each.all() for each in heard]
    assert [ids for ids, _, _ in found] == plain
    assert [end.reason for _, _, end in found] == ["length"] * len(PROMPTS)
    assert engine.drafted > 0


def test_a_pass_makes_several_tokens_of_a_text_that_repeats_itself(engine_of):
    model, passes = tiny_model("llama"), Counter()
    round_ = tuple((pair, 1e4) for pair in ((5, 6), (6, 7), (7, 5)))
    settings = TextSettings(drafts=LOOKUP, rules=Rules(bias=round_))
    engine = engine_of(model)
    forward = model.forward
    model.forward = lambda *args, **named: passes.update(all=1) or forward(*args, **named)
    ids, _, end = Heard(engine, ask([5, 6, 7, 5], 17, settings=settings)).all()
    assert ids == [6, 7, 5, 6, 7, 5, 6, 7, 5, 6, 7, 5, 6, 7, 5, 6, 7]
    assert end.reason == "length"
    assert passes["all"] == 1 + 16 / 4  # the prompt, and then three drafted tokens and one more


def test_a_text_ends_within_a_draft(engine_of):
    round_ = tuple((pair, 1e4) for pair in ((5, 6), (6, 7), (7, 5)))
    rules = Rules(bias=round_)
    engine = engine_of(tiny_model("llama"))
    by_id = TextSettings(drafts=LOOKUP, rules=rules, stop=frozenset([7]))
    ids, _, end = Heard(engine, ask([5, 6, 7, 5], 17, settings=by_id)).all()
    assert (ids, end.reason) == ([6, 7], "stop")
    by_text = TextSettings(drafts=LOOKUP, rules=rules, stop_strings=(chr(0x107) + chr(0x105),))
    ids, text, end = Heard(engine, ask([5, 6, 7, 5], 17, settings=by_text)).all()
    assert (ids, text, end.reason) == ([6, 7, 5], chr(0x106), "stop")


def test_drawn_texts_have_the_probabilities_of_plain_draws(engine_of):
    engine, count = engine_of(tiny_model("llama")), 250
    prompt, likely = [20, 21, 5, 21, 20, 5, 6], Rules(bias=(((20,), 4.0), ((21,), 4.0)))

    def shares(drafts, first):
        settings = TextSettings(draw=Draw(temperature=2.0), rules=likely, drafts=drafts)
        heard = [
            Heard(engine, ask(prompt, 3, settings=settings, seed=seed))
            for seed in range(first, first + count)
        ]
        seconds = Counter(each.all()[0][1] for each in heard)
        return torch.tensor([seconds[token] / count for token in range(64)])

    plain = shares(DraftSettings(), 0)
    assert (shares(LOOKUP, 10**6) - plain).abs().max() < 0.12
    assert 0 < engine.kept < engine.drafted


def test_the_newest_earlier_place_is_looked_up():
    assert looked_up([5, 6, 7, 5, 6, 8, 9, 5, 6], 3, 2) == [8, 9]
    assert looked_up([5, 5], 2, 4) == [5]
    assert looked_up([5, 6], 2, 4) == looked_up([5], 2, 4) == []
    assert looked_up([1, 256, 3, 0, 1], 2, 1) == [256]  # bytes of 256 look like those of 1


def test_a_server_drafts_for_all_its_texts(chat_llama, client):
    turn = [{"role": "user", "content": "the the the the the the"}]
    options = {"model": "tiny", "messages": turn, "max_tokens": 40}
    plain = client.chat.completions.create(**options).choices[0].message.content
    with serving(chat_llama, prompt_lookup_num_tokens=4, max_matching_ngram_size=3) as server:
        own = OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        assert own.chat.completions.create(**options).choices[0].message.content == plain
        tool = {"type": "function", "function": {"name": "look"}}
        held = own.chat.completions.create(
            model="tiny", messages=turn, tools=[tool], tool_choice="required", logprobs=True
        )
        assert len(held.choices[0].logprobs.content) == held.usage.completion_tokens
        assert server.models["tiny"].engine.drafted > 0


def test_a_model_that_cannot_take_back_is_not_served_with_drafts(tmp_path, tiny_tokenizer):
    folder = tmp_path / "m"
    save_model(tiny_model("mamba", vocab_size=320), folder, tokenizer_from=tiny_tokenizer)
    with (
        pytest.raises(UsageError, match="cannot take back"),
        serving(folder, prompt_lookup_num_tokens=4),
    ):
        pass
