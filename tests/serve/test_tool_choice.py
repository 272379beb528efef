"""Calls that must come: whatever a model would say, it writes one in its family's form."""

from __future__ import annotations

import json
import random

import anthropic
import openai
import pytest
import torch

from tests.serve.test_tools import SAID, told
from tfcli.errors import UsageError
from tfcli.generation.grammar import lark_grammar
from tfcli.serve.tools.families import form_of
from tfcli.serve.tools.lark import calls_lark
from tfcli.serve.tools.manner import THINK
from tfcli.tokenizers.load import load_tokenizer

LOOK = {
    "type": "object",
    "properties": {"at": {"enum": ["sky", "sea"]}},
    "required": ["at"],
    "additionalProperties": False,
}
WAIT = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS = [
    {"type": "function", "function": {"name": "look", "parameters": LOOK}},
    {"type": "function", "function": {"name": "wait", "parameters": WAIT}},
]
QUESTION = [{"role": "user", "content": "Why?"}]


def drawn(lark, tokenizer, seed):
    """A text of a grammar, by a model that likes all tokens alike."""
    process = lark_grammar(lark, tokenizer, [0], "tools").process(torch.tensor([1]))
    ids, chance = [1], random.Random(seed)
    while len(ids) < 400:
        left = process(torch.tensor([ids]), torch.zeros(1, tokenizer.vocab_size))[0]
        ids.append(chance.choice((left == 0).nonzero()[:, 0].tolist()))
        if ids[-1] == 0:
            return tokenizer.decode(ids[1:-1])
    return None


@pytest.mark.parametrize("family", SAID)
@pytest.mark.parametrize("several", [True, False])
def test_a_required_call_is_read_as_it_is_written(family, several, tiny_tokenizer):
    tokenizer, mark = load_tokenizer(tiny_tokenizer), SAID[family][0]
    functions = [tool["function"] for tool in TOOLS]
    spelling = form_of(mark).spelling
    options = {"opened": False, "several": several}
    lark = calls_lark(functions, spelling, None, tokenizer, **options)
    most = 2 if several and family != "llama 3" else 1
    counts, seed = set(), 0
    while seed < 4 or most not in counts:
        seed += 1
        text = drawn(lark, tokenizer, seed)
        if text is None:  # of very many calls
            continue
        words, calls = told(mark, text)
        assert words == ""
        for call in calls:
            assert call.name in ("look", "wait")
            assert call.arguments.keys() == ({"at"} if call.name == "look" else set())
        counts.add(len(calls))
    assert max(counts) == 1 or most == 2


def test_thoughts_may_come_before_a_required_call(tiny_tokenizer):
    tokenizer = load_tokenizer(tiny_tokenizer)
    spelling = form_of("<tool_call>").spelling
    for opened, text in ((True, "So.</think>\n\n"), (False, "<think>So.</think>"), (False, "")):
        lark = calls_lark([{"name": "wait"}], spelling, THINK, tokenizer, opened=opened, several=1)
        grammar = lark_grammar(lark, tokenizer, [0], "tools")
        call = '<tool_call>\n{"name": "wait", "arguments": {}}\n</tool_call>'
        ids = tokenizer.encode(text + call, add_special_tokens=False)
        process = grammar.process(torch.tensor([1]))
        for end in range(len(ids)):
            process(torch.tensor([[1, *ids[: end + 1]]]), torch.zeros(1, 320))


def test_parameters_that_are_no_object_are_refused(tiny_tokenizer):
    tokenizer = load_tokenizer(tiny_tokenizer)
    function = {"name": "look", "parameters": {"type": "string"}}
    spelling = form_of("<tool_call>").spelling
    with pytest.raises(UsageError, match="an object"):
        calls_lark([function], spelling, None, tokenizer, opened=False, several=True)


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_calls_what_it_must(client, stream):
    def asked(**more):
        options = {"model": "tiny", "messages": QUESTION, "tools": TOOLS, "seed": 1, **more}
        if not stream:
            choice = client.chat.completions.create(temperature=1, **options).choices[0]
            return choice.message.tool_calls, choice.finish_reason
        parts = [
            part.choices[0]
            for part in client.chat.completions.create(temperature=1, stream=True, **options)
        ]
        assert not any(part.delta.content for part in parts)
        calls = [call for part in parts for call in part.delta.tool_calls or ()]
        return calls, parts[-1].finish_reason

    calls, reason = asked(tool_choice="required", parallel_tool_calls=False)
    assert len(calls) == 1
    assert reason == "tool_calls"
    named = {"type": "function", "function": {"name": "look"}}
    calls, _ = asked(tool_choice=named, parallel_tool_calls=False)
    assert calls[0].function.name == "look"
    assert json.loads(calls[0].function.arguments)["at"] in ("sky", "sea")


def test_a_response_calls_what_it_must(client):
    tools = [{"type": "function", **tool["function"]} for tool in TOOLS]
    options = {"model": "tiny", "input": "Why?", "tools": tools, "parallel_tool_calls": False}
    found = client.responses.create(tool_choice={"type": "function", "name": "look"}, **options)
    (call,) = found.output
    assert (call.type, call.name) == ("function_call", "look")
    with client.responses.stream(tool_choice="required", **options) as stream:
        done = [e for e in stream if e.type == "response.function_call_arguments.done"]
    assert len(done) == 1


def test_a_message_uses_what_it_must(server):
    claude = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)
    tools = [{"name": "look", "input_schema": LOOK}, {"name": "wait", "input_schema": WAIT}]
    options = {"model": "tiny", "messages": QUESTION, "tools": tools, "max_tokens": 64}
    choice = {"type": "tool", "name": "look", "disable_parallel_tool_use": True}
    found = claude.messages.create(tool_choice=choice, **options)
    (use,) = found.content
    assert (use.type, use.name, found.stop_reason) == ("tool_use", "look", "tool_use")
    with claude.messages.stream(
        tool_choice={"type": "any", "disable_parallel_tool_use": True}, **options
    ) as stream:
        (use,) = stream.get_final_message().content
    assert use.name in ("look", "wait")


REFUSED = {
    "no tools": ({"tool_choice": "required"}, "without tools"),
    "no such tool": (
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "lok"}}},
        "look",
    ),
    "two of one name": ({"tools": [TOOLS[0]] * 2}, "same name"),
    "a name of spaces": (
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        "pattern",
    ),
    "a schema too": (
        {"tools": TOOLS, "tool_choice": "required", "response_format": {"type": "json_object"}},
        "no schema",
    ),
    "an unknown word": (
        {
            "tools": [{"type": "function", "function": {"name": "a", "parameters": {"tipe": 1}}}],
            "tool_choice": "required",
        },
        "tipe",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_called_is_refused(client, name):
    keys, said = REFUSED[name]
    with pytest.raises(openai.BadRequestError, match=said):
        client.chat.completions.create(model="tiny", messages=QUESTION, **keys)
