"""Chat templates of text models that write a token where a message has a medium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tfcli.tokenizers.chat import render_chat
from tfcli.tokenizers.chat_media import with_media
from tfcli.tokenizers.chatml import CHATML

TEMPLATES = Path(__file__).parent / "templates"
PLAIN = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
ITSELF = (
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for p in m.content %}{{ '<image>' if p.type == 'image' else p.text }}{% endfor %}"
    "{% endif %}{% endfor %}"
)
REFUSES = "{{ raise_exception('no users here') }}"
TOKENS = {"image": "<image>", "a'b": "<'\\>"}
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "Look: "},
            {"type": "image"},
            {"type": "text", "text": " {{ what }}?"},
        ],
    },
    {"role": "assistant", "content": "A name."},
]


def rendered(template: str | None, talk: list[dict[str, Any]]) -> str:
    assert template is not None
    return render_chat(template, talk, special_tokens={}).text


def flat(talk: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conversation as one would have to write it for the template as it was."""
    one = "".join(part.get("text", "<image>") for part in talk[1]["content"])
    return [talk[0], {**talk[1], "content": one}, talk[2]]


@pytest.mark.parametrize("template", [PLAIN, CHATML])
def test_media_become_tokens_and_the_rest_stays(template):
    extended = with_media(template, TOKENS, {})
    assert extended != template
    assert rendered(extended, TALK) == rendered(template, flat(TALK))
    assert rendered(extended, flat(TALK)) == rendered(template, flat(TALK))


OF_MODELS = sorted(path for path in TEMPLATES.glob("*.jinja") if path.stem != "workshop")


@pytest.mark.parametrize("path", OF_MODELS, ids=lambda path: path.stem)
def test_templates_as_models_have_them(path):
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    extended = with_media(path.read_text(encoding="utf-8"), {"image": "<image>"}, tokens)
    assert extended is not None
    found = render_chat(extended, TALK[1:2], special_tokens=tokens).text
    assert "Look: <image> {{ what }}?" in found


def test_what_the_assistant_writes_is_still_marked():
    extended = with_media(CHATML, {"image": "<image>"}, {})
    assert extended is not None
    found = render_chat(extended, TALK, special_tokens={})
    [(start, end)] = found.generation_spans or ()
    assert found.text[start:end] == "A name.<|im_end|>"


def test_a_template_that_writes_the_tokens_itself_is_left_alone():
    assert with_media(ITSELF, {"image": "<image>"}, {}) == ITSELF
    other = with_media(ITSELF, {"image": "<photo>"}, {})  # another token than it writes
    assert other is not None and other != ITSELF
    assert "Look: <photo>" in rendered(other, TALK)


def test_one_that_takes_no_such_message_is_none():
    assert with_media(REFUSES, TOKENS, {}) is None
    assert with_media("{{ messages[0].role }}", TOKENS, {}) is None


def test_a_message_without_content_stays_without():
    template = (
        "{% for m in messages %}{{ m.content is defined }}{% endfor %}{{ messages[0].content }}"
    )
    extended = with_media(template, {"image": "<image>"}, {})
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    assert rendered(extended, [TALK[0], call]) == "TrueFalseBe brief."
