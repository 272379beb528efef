"""Chat templates of text models, taught to write a token where a message has a medium."""

from __future__ import annotations

from collections.abc import Mapping

from tfcli.errors import Problem
from tfcli.tokenizers.chat import render_chat

_TEXT = "A text between media."

# It makes one text of a message's parts, and the template goes on as it always did.
_BEFORE = """\
{%- set media_tokens = TOKENS %}
{%- set flat = namespace(messages=[]) %}
{%- for message in messages %}
    {%- set given = message.content | default('') %}
    {%- if given is iterable and given is not string and given is not mapping %}
        {%- set content = namespace(text='') %}
        {%- for part in given %}
            {%- if part.type in media_tokens %}
                {%- set content.text = content.text + media_tokens[part.type] %}
            {%- else %}
                {%- set content.text = content.text + part.text %}
            {%- endif %}
        {%- endfor %}
        {%- set message = dict(message, content=content.text) %}
    {%- endif %}
    {%- set flat.messages = flat.messages + [message] %}
{%- endfor %}
{%- set messages = flat.messages %}
"""


def with_media(
    template: str, tokens: Mapping[str, str], special_tokens: Mapping[str, str]
) -> str | None:
    """A template that writes the token of each medium in a message.

    Args:
        template: the Jinja source.
        tokens: type of a message's part, such as `image` -> the token that stands for it.
        special_tokens: as `render_chat` takes them.

    Returns:
        the template itself where it does so already; with lines before it that make one text of a
        message's parts where it renders that text; None where it does neither
    """
    if _writes(template, tokens, special_tokens):
        return template
    written = "{" + ", ".join(f"{_quoted(k)}: {_quoted(v)}" for k, v in tokens.items()) + "}"
    extended = _BEFORE.replace("TOKENS", written) + template
    return extended if _writes(extended, tokens, special_tokens) else None


def _writes(template: str, tokens: Mapping[str, str], special_tokens: Mapping[str, str]) -> bool:
    """Whether every medium of a user's message becomes its token, in its place."""
    parts = [part for kind in tokens for part in ({"type": kind}, {"type": "text", "text": _TEXT})]
    messages = [{"role": "user", "content": parts}]
    try:
        text = render_chat(template, messages, special_tokens=special_tokens).text
    except Problem:
        return False
    return "".join(token + _TEXT for token in tokens.values()) in text


def _quoted(text: str) -> str:
    """A string of Jinja's; a name or token with a quote or a backslash keeps it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
