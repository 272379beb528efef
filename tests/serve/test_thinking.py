"""Thoughts of models that think first, in each interface, by its own client."""

from __future__ import annotations

import anthropic
import openai
import pytest

from tests.conftest import make_tiny_llama
from tests.serve.conftest import TEMPLATE, serving, tokenizer_with

QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]
OPENS = (
    "{% for m in messages %}{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}"
    "{% endfor %}{% if enable_thinking is not defined or enable_thinking %}<think>\n"
    "{% else %}<think>\n\n</think>\n\n{% endif %}"
)


@pytest.fixture(scope="module")
def thinking(tmp_path_factory, tiny_tokenizer):
    """A server of a model that the prompt has think, and the folder of the model."""
    folder = tmp_path_factory.mktemp("thinking")
    own = folder / "tokenizer"
    tokenizer_with(["<think>", "</think>"], tiny_tokenizer, own)
    model = make_tiny_llama(folder / "thinks", own, vocab_size=322, max_position_embeddings=1024)
    (model / "chat_template.jinja").write_text(TEMPLATE + OPENS)
    with serving(model, max_new_tokens=24) as server:
        yield server


@pytest.fixture(scope="module")
def chat(thinking):
    return openai.OpenAI(base_url=f"{thinking.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def claude(thinking):
    return anthropic.Anthropic(base_url=thinking.url, api_key="none", max_retries=0)


def test_a_chat_has_thoughts_beside_its_words(chat):
    def asked(**more):
        return chat.chat.completions.create(model="thinks", messages=QUESTION, **more)

    found = asked()
    message = found.choices[0].message
    assert message.reasoning_content
    assert message.content == ""
    assert found.usage.completion_tokens_details.reasoning_tokens == found.usage.completion_tokens
    parts = [part.choices[0].delta for part in asked(stream=True)]
    thoughts = "".join(getattr(part, "reasoning_content", None) or "" for part in parts)
    assert thoughts == message.reasoning_content
    off = asked(extra_body={"chat_template_kwargs": {"enable_thinking": False}})
    assert off.choices[0].message.content
    assert not hasattr(off.choices[0].message, "reasoning_content")


def test_earlier_thoughts_are_given_to_the_template(chat, claude):
    turns = [*QUESTION, {"role": "assistant", "content": "b", "reasoning_content": "deep"}]
    plain = [*QUESTION, {"role": "assistant", "content": "b"}]
    sizes = [
        chat.chat.completions.create(model="thinks", messages=each, max_tokens=1).usage
        for each in (turns, plain)
    ]
    assert sizes[0].prompt_tokens > sizes[1].prompt_tokens
    block = {"type": "thinking", "thinking": "deep", "signature": ""}
    own = [*QUESTION, {"role": "assistant", "content": [block, {"type": "text", "text": "b"}]}]
    counted = claude.messages.count_tokens(model="thinks", messages=own)
    assert counted.input_tokens == sizes[0].prompt_tokens


def test_a_budget_ends_thoughts(claude):
    options = {"model": "thinks", "messages": QUESTION, "max_tokens": 20}
    asked = {"type": "enabled", "budget_tokens": 6}
    found = claude.messages.create(thinking=asked, **options)
    assert [block.type for block in found.content] == ["thinking", "text"]
    with claude.messages.stream(thinking=asked, **options) as stream:
        streamed = stream.get_final_message()
    assert streamed.content[0].thinking == found.content[0].thinking
    assert streamed.content[1].text == found.content[1].text
    off = claude.messages.create(thinking={"type": "disabled"}, **options)
    assert [block.type for block in off.content] == ["text"]


def test_a_response_has_an_item_of_thoughts(chat):
    options = {"model": "thinks", "input": "Why?", "max_output_tokens": 9}
    found = chat.responses.create(**options)
    (item,) = found.output
    assert item.type == "reasoning"
    with chat.responses.stream(**options) as stream:
        told = "".join(e.delta for e in stream if e.type == "response.reasoning_text.delta")
    assert told == item.content[0].text


def test_an_answer_of_a_schema_comes_after_thoughts(chat):
    form = {"type": "json_schema", "json_schema": {"name": "sky", "schema": {"enum": ["blue"]}}}
    off = {"chat_template_kwargs": {"enable_thinking": False}}
    found = chat.chat.completions.create(
        model="thinks", messages=QUESTION, response_format=form, extra_body=off
    )
    assert found.choices[0].message.content == '"blue"'
    held = chat.chat.completions.create(model="thinks", messages=QUESTION, response_format=form)
    assert held.choices[0].message.reasoning_content
