"""Calls of tools, as families of models write them."""

from __future__ import annotations

import pytest

from tfcli.serve.tools.calls import Calls
from tfcli.serve.tools.families import Call, form_of

BAR, SPACE = "\uff5c", "\u2581"
DEEPSEEK = {
    name: f"<{BAR}{name.replace(' ', SPACE)}{BAR}>"
    for name in ("tool calls begin", "tool call begin", "tool sep", "tool call end")
}
WEATHER = '{"city": "Oslo", "days": [1, 2]}'
CALL = Call("weather", {"city": "Oslo", "days": [1, 2]})
SAID = {
    "hermes and qwen": (
        "<tool_call>",
        f'Let me look.<tool_call>\n{{"name": "weather", "arguments": {WEATHER}}}\n</tool_call>',
    ),
    "llama 3": ("<|eot_id|>", f'Let me look.{{"name": "weather", "parameters": {WEATHER}}}'),
    "mistral": (
        "[TOOL_CALLS]",
        f'Let me look.[TOOL_CALLS][{{"name": "weather", "arguments": {WEATHER}}}]',
    ),
    "newer mistral": ("[TOOL_CALLS]", f"Let me look.[TOOL_CALLS]weather[ARGS]{WEATHER}"),
    "deepseek": (
        DEEPSEEK["tool calls begin"],
        f"Let me look.{DEEPSEEK['tool calls begin']}{DEEPSEEK['tool call begin']}function"
        f"{DEEPSEEK['tool sep']}weather\n```json\n{WEATHER}\n```{DEEPSEEK['tool call end']}",
    ),
    "phi": (
        "<|tool_call|>",
        f'Let me look.<|tool_call|>[{{"name": "weather", "arguments": {WEATHER}}}]<|/tool_call|>',
    ),
    "functionary": ("<function=", f"Let me look.<function=weather>{WEATHER}</function>"),
}


def told(mark, *pieces):
    calls = Calls(form_of(f"{{% if tools %}}{mark}{{% endif %}}"))
    words = "".join(map(calls.push, pieces))
    rest, found = calls.finish()
    return words + rest, found


@pytest.mark.parametrize("family", SAID)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_words_and_calls_are_told_apart_while_they_come(family, size):
    mark, text = SAID[family]
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert told(mark, *pieces) == ("Let me look.", [CALL])


def test_several_calls_come_in_order():
    text = "".join(
        f'<tool_call>{{"name": "{name}", "arguments": {{}}}}</tool_call>' for name in "ab"
    )
    assert told("<tool_call>", text) == ("", [Call("a", {}), Call("b", {})])


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>no object</tool_call>",
        '<tool_call>{"name": 3}',
        "1 < 2",
        "<tool_call>" + "[" * 9999,
    ],
)
def test_what_is_no_call_after_all_is_said(text):
    assert told("<tool_call>", text) == (text, [])


def test_a_chat_with_tools_gives_them_to_the_template(client):
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    turn = [{"role": "user", "content": "Why?"}]
    plain = client.chat.completions.create(model="tiny", messages=turn, max_tokens=4)
    for stream in (False, True):
        found = client.chat.completions.create(
            model="tiny", messages=turn, tools=[tool], max_tokens=4, stream=stream
        )
        if not stream:
            assert found.usage.prompt_tokens > plain.usage.prompt_tokens
    assert [chunk.choices[0].finish_reason for chunk in found][-1] in ("length", "stop")
