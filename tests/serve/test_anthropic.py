"""Anthropic's interface, driven by Anthropic's own client."""

from __future__ import annotations

import anthropic
import pytest

import tfcli

QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]


@pytest.fixture(scope="module")
def claude(server):
    return anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)


def test_a_message_is_what_generate_makes(claude, chat_llama):
    found = claude.messages.create(
        model="tiny", messages=QUESTION, system="Be brief.", max_tokens=9
    )
    expected = tfcli.load(chat_llama).generate(
        QUESTION[0]["content"], chat=True, system="Be brief.", max_new_tokens=9
    )
    assert found.content[0].text == expected
    assert found.stop_reason in ("max_tokens", "end_turn")
    usage = found.usage
    counted = claude.messages.count_tokens(model="tiny", messages=QUESTION, system="Be brief.")
    assert usage.input_tokens + usage.cache_read_input_tokens == counted.input_tokens


def test_a_stream_adds_up_to_the_whole(claude):
    options = {"model": "tiny", "messages": QUESTION, "max_tokens": 9}
    whole = claude.messages.create(**options)
    with claude.messages.stream(**options) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == whole.content[0].text == message.content[0].text
    assert message.stop_reason == whole.stop_reason
    assert message.usage.output_tokens == whole.usage.output_tokens


def test_errors_are_the_clients_own(claude):
    with pytest.raises(anthropic.NotFoundError, match="tiny"):
        claude.messages.create(model="tin", messages=QUESTION, max_tokens=9)
    with pytest.raises(anthropic.BadRequestError, match="max_tokens") as caught:
        claude.messages.create(model="tiny", messages=QUESTION, max_tokens=0)
    assert caught.value.body["type"] == "error"


def test_a_model_without_thoughts_is_not_asked_for_them(claude):
    options = {"model": "tiny", "messages": QUESTION, "max_tokens": 2}
    assert claude.messages.create(thinking={"type": "disabled"}, **options).content
    with pytest.raises(anthropic.BadRequestError, match="does not think"):
        claude.messages.create(thinking={"type": "adaptive"}, **options)


def test_results_of_tools_are_turns_of_their_own(claude):
    turns = [
        *QUESTION,
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "1", "name": "look", "input": {"at": "sky"}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "1", "content": "It is blue."}],
        },
    ]
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    found = claude.messages.create(model="tiny", messages=turns, max_tokens=5, tools=tools)
    assert found.content[0].type == "text"
