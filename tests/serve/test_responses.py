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
