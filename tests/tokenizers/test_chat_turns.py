"""The assistant's parts of a conversation, whether or not the template marks them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tfcli.errors import WorkError
from tfcli.tokenizers.chat import render_chat
from tfcli.tokenizers.chat_turns import render_turns

TEMPLATES = {
    file.stem: file.read_text() for file in (Path(__file__).parent / "templates").glob("*.jinja")
}
STOPS = ("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "</s>", "<s>")
TALK = [
    {"role": "user", "content": "one?"},
    {"role": "assistant", "content": "first answer"},
    {"role": "user", "content": "two?"},
    {"role": "assistant", "content": "the second"},
]


def parts(template: str, messages=TALK, **options) -> list[list[str]]:
    """What is the assistant's, in each text that a conversation becomes."""
    render = partial(
        render_chat, template, special_tokens={"bos_token": "<s>", "eos_token": "</s>"}, **options
    )
    return [
        [one.text[begin:end] for begin, end in one.generation_spans or ()]
        for one in render_turns(render, messages, STOPS)
    ]


@pytest.mark.parametrize(
    ("template", "answers"),
    [
        ("chatml", ["first answer<|im_end|>", "the second<|im_end|>"]),
        ("marked", ["first answer<|im_end|>", "the second<|im_end|>"]),
        ("llama3", ["first answer<|eot_id|>", "the second<|eot_id|>"]),
        ("gemma", ["first answer<end_of_turn>", "the second<end_of_turn>"]),
        ("mistral", [" first answer</s>", " the second</s>"]),
        # An EOS ends every text, behind the end of its last turn.
        ("phi3", ["first answer<|end|>", "the second<|end|>\n</s>"]),
    ],
)
def test_each_turn_is_the_assistants_with_the_token_that_ends_it(template, answers):
    assert parts(TEMPLATES[template]) == [answers]


def test_a_mark_that_leaves_out_the_token_that_ends_a_turn_gets_it():
    inside = "{{ text + '<|im_end|>' }}{% endgeneration %}"
    outside = "{{ text }}{% endgeneration %}{{ '<|im_end|>' }}"
    template = (
        "{% for m in messages %}<|im_start|>{% set text = m.content %}{% if m.role == 'assistant' "
        "%}{% generation %}" + inside + "{% else %}{{ text }}{% endif %}\n{% endfor %}"
    )
    assert parts(template.replace(inside, outside)) == parts(template)
    assert parts(template) == [["first answer<|im_end|>", "the second<|im_end|>"]]


def test_calls_of_tools_are_the_assistants_and_what_tools_say_is_not():
    call = {"type": "function", "function": {"name": "clock", "arguments": {"zone": "CET"}}}
    talk = [
        {"role": "user", "content": "Late?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "23:59"},
        {"role": "assistant", "content": "It is."},
    ]
    ((called, said),) = parts(TEMPLATES["qwen25"], talk)
    assert '"name": "clock", "arguments": {"zone": "CET"}' in called and "23:59" not in called
    assert said == "It is.<|im_end|>"


THOUGHT = [
    TALK[0],
    {**TALK[1], "reasoning_content": "easy"},
    TALK[2],
    {**TALK[3], "reasoning_content": "hard"},
]


def test_where_earlier_turns_are_written_in_another_way_each_turn_is_a_text():
    """Qwen3 leaves out what was thought before the last question."""
    first, second = parts(TEMPLATES["qwen3"], THOUGHT)
    assert first == ["<think>\neasy\n</think>\n\nfirst answer<|im_end|>"]
    assert second == ["<think>\nhard\n</think>\n\nthe second<|im_end|>"]


def test_such_a_text_is_what_the_model_has_seen_when_it_writes_the_turn():
    render = partial(render_chat, TEMPLATES["qwen3"], special_tokens={})
    turns = render_turns(render, THOUGHT, STOPS)
    for turn, upto in zip(turns, (1, 3), strict=True):
        prompt = render(THOUGHT[:upto], add_generation_prompt=True).text
        ((begin, _),) = turn.generation_spans
        assert turn.text[:begin] == prompt
    assert "easy" not in turns[1].text


def test_one_question_needs_no_such_texts():
    assert parts(TEMPLATES["qwen3"], THOUGHT[:2]) == [
        ["<think>\neasy\n</think>\n\nfirst answer<|im_end|>"]
    ]


def test_a_prompt_that_the_answer_changes_is_an_error_that_shows_both():
    template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]<think>{% endif %}"
    )
    with pytest.raises(WorkError, match=r"writes '<think>' before the answer, .* 'first") as error:
        parts(template)
    assert error.value.where == "messages[1]" and "{% generation %}" in error.value.fix


def test_a_prompt_that_a_system_message_is_lost_from_is_an_error():
    """Mistral's template writes it before the last message, and only where that is the user's."""
    with pytest.raises(WorkError, match=r"writes 'Be brief.* before the answer") as error:
        parts(TEMPLATES["mistral"], [{"role": "system", "content": "Be brief."}, *TALK])
    assert error.value.where == "messages[2]"


def test_an_answer_to_nothing_is_no_part():
    assert parts(TEMPLATES["chatml"], TALK[1:]) == [["the second<|im_end|>"]]
    assert parts(TEMPLATES["chatml"], TALK[:1]) == [[]]


def test_without_a_token_that_ends_a_turn_all_that_is_written_is_the_assistants():
    template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    assert parts(template) == [["first answer\n", "the second\n"]]
