"""OpenAI's responses, by its own client."""

from __future__ import annotations

import openai
import pytest


def test_a_response_is_what_a_chat_says(client):
    options = {"model": "tiny", "temperature": 0, "max_output_tokens": 9}
    found = client.responses.create(input="Why?", instructions="Be brief.", **options)
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
    ]
    chat = client.chat.completions.create(model="tiny", messages=turns, temperature=0, max_tokens=9)
    assert found.output_text == chat.choices[0].message.content
    assert found.usage.input_tokens == chat.usage.prompt_tokens
    assert found.status == "incomplete" if chat.choices[0].finish_reason == "length" else True
    with client.responses.stream(input="Why?", instructions="Be brief.", **options) as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
    assert text == found.output_text


def test_what_is_not_kept_is_refused(client):
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(model="tiny", input="Why?", previous_response_id="resp_1")


def test_calls_and_what_they_gave_are_turns(client):
    tool = {"type": "function", "name": "look", "parameters": {"type": "object"}}
    items = [
        {"role": "user", "content": "Why?"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "It is blue."},
    ]
    options = {"model": "tiny", "temperature": 0, "max_output_tokens": 9}
    found = client.responses.create(input=items, tools=[tool], **options)
    call = {"name": "look", "arguments": "{}"}
    turns = [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "1", "content": "It is blue."},
    ]
    function = {"name": "look", "parameters": {"type": "object"}}
    chat = client.chat.completions.create(
        model="tiny",
        messages=turns,
        tools=[{"type": "function", "function": function}],
        temperature=0,
        max_tokens=9,
    )
    assert found.output_text == chat.choices[0].message.content
    assert found.usage.input_tokens == chat.usage.prompt_tokens
    with pytest.raises(openai.BadRequestError, match="not in the input"):
        client.responses.create(model="tiny", input=items[3:])
    with pytest.raises(openai.BadRequestError, match="no JSON"):
        client.responses.create(model="tiny", input=[{**items[2], "arguments": "{"}])


def test_an_answer_can_be_given_back(client):
    first = client.responses.create(model="tiny", input="Why?", max_output_tokens=5)
    turns = [{"role": "user", "content": "Why?"}, *first.output, {"role": "user", "content": "?"}]
    again = client.responses.create(model="tiny", input=turns, max_output_tokens=5)
    assert again.usage.input_tokens > first.usage.input_tokens


def test_an_item_of_an_unknown_type_is_named(client):
    with pytest.raises(openai.BadRequestError, match="web_search_call"):
        client.responses.create(model="tiny", input=[{"type": "web_search_call"}])
