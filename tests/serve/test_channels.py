"""A model that writes as gpt-oss does, held to its form and read back by OpenAI's client."""

from __future__ import annotations

import openai
import pytest

from tests.conftest import make_tiny_llama
from tests.serve.conftest import serving, tokenizer_with

QUESTION = [{"role": "user", "content": "Why?"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"maxProperties": 0}}}
MARKS = ("start", "end", "message", "channel", "constrain", "return", "call")
# As in gpt-oss's own template, a message has calls and either thoughts or words.
TEMPLATE = (
    "{% for m in messages %}{% if m.tool_calls and m.content and m.thinking %}"
    "{{ raise_exception('both') }}{% endif %}<|start|>{{ m.role }}"
    "{% if m.thinking %}<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}"
    "<|message|>{{ m.content }}<|end|>{% endfor %}<|start|>assistant"
)


@pytest.fixture(scope="module")
def channels(tmp_path_factory, tiny_tokenizer):
    """A client of a tiny model with gpt-oss's tokens, and its tokenizer."""
    folder = tmp_path_factory.mktemp("channels")
    marks = [f"<|{name}|>" for name in MARKS]
    own = folder / "tokenizer"
    tokenizer = tokenizer_with(marks, tiny_tokenizer, own, special=True)
    ends = [tokenizer.token_to_id(f"<|{name}|>") for name in ("return", "call")]
    model = make_tiny_llama(
        folder / "oss", own, vocab_size=327, max_position_embeddings=1024, eos_token_id=ends
    )
    (model / "chat_template.jinja").write_text(TEMPLATE)
    with serving(model, max_new_tokens=80) as server:
        yield openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0), tokenizer


def towards(tokenizer, channel):
    """What has the model choose a channel."""
    return {str(tokenizer.encode(channel, add_special_tokens=False).ids[0]): 100}


@pytest.mark.parametrize("stream", [False, True])
def test_a_required_call_goes_to_its_channel(channels, stream):
    client, tokenizer = channels
    options = {"model": "oss", "messages": QUESTION, "tools": [TOOL], "tool_choice": "required"}
    options["logit_bias"] = towards(tokenizer, "commentary")
    if stream:
        parts = [one.choices[0] for one in client.chat.completions.create(stream=True, **options)]
        calls = [call for part in parts for call in part.delta.tool_calls or ()]
        assert parts[-1].finish_reason == "tool_calls"
    else:
        choice = client.chat.completions.create(**options).choices[0]
        calls, content = choice.message.tool_calls, choice.message.content
        assert (content, choice.finish_reason) == (None, "tool_calls")
    ((name, arguments),) = [(call.function.name, call.function.arguments) for call in calls]
    assert (name, arguments) == ("look", "{}")


def test_an_answer_of_a_schema_goes_to_the_final_channel(channels):
    client, tokenizer = channels
    form = {"type": "json_schema", "json_schema": {"name": "sky", "schema": {"enum": ["blue"]}}}
    found = client.chat.completions.create(
        model="oss",
        messages=QUESTION,
        response_format=form,
        logit_bias=towards(tokenizer, "final"),
    )
    assert found.choices[0].message.content == '"blue"'


def test_thoughts_of_earlier_turns_go_to_their_channel(channels):
    client, _ = channels
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    counts = []
    for more in ({}, {"content": "b"}, {"reasoning_content": "b"}, {"tool_calls": [call]}):
        turn = {"role": "assistant", "content": "", **more}
        if "tool_calls" in more:
            turn |= {"content": "b", "reasoning_content": "deep"}
        found = client.chat.completions.create(
            model="oss", messages=[*QUESTION, turn], max_tokens=1
        )
        counts.append(found.usage.prompt_tokens)
    plain, words, thoughts, both = counts
    assert thoughts > words > plain
    assert both == words
