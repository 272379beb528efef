"""The data that a chat template is given: checked, copied, and plain.

A template gets copies made of the types of JSON only, so that nothing it reaches has methods of
its own, and nothing that the caller holds can change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfcli.errors import WorkError

_DEEPEST = 90
_REASONING = ("reasoning_content", "thinking", "reasoning")
_CONTINUES = "TFCLI CONTINUES HERE "  # ends in a space, which shows whether the template trims


def copy(value: Any, where: str, depth: int = 0) -> Any:
    """A copy of `value` out of plain types.

    Raises:
        WorkError: a value that JSON does not have, at `where`, or values nested without end.
    """
    if depth > _DEEPEST:
        raise WorkError(f"values are nested more than {_DEEPEST} deep", where=where)
    if isinstance(value, str):
        return str(value)
    if value is None or type(value) in (bool, int, float):
        return value
    if isinstance(value, Mapping):
        return {
            _key(key, where): copy(one, f"{where}.{key}", depth + 1) for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [copy(one, f"{where}[{n}]", depth + 1) for n, one in enumerate(value)]
    raise WorkError(
        f"{_kind(value)} is not text, a number, a list or a mapping",
        where=where,
        fix="chat templates take what JSON can say",
    )


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise WorkError(f"the key {key!r} is not text", where=where)
    return str(key)


def mappings(values: Any, where: str) -> list[dict[str, Any]] | None:
    """A copy of a list of mappings, such as tools; None stays None."""
    if values is None:
        return None
    if isinstance(values, str | Mapping) or not isinstance(values, Sequence):
        raise WorkError(f"expected a list of mappings, not {_kind(values)}", where=where)
    for n, value in enumerate(values):
        if not isinstance(value, Mapping):
            raise WorkError(f"expected a mapping, not {_kind(value)}", where=f"{where}[{n}]")
    copies: list[dict[str, Any]] = copy(list(values), where)
    return copies


def conversation(messages: Any) -> list[dict[str, Any]]:
    """A copy of a conversation, in the form that templates expect.

    Keys without a value are left out, and reasoning is under each name that templates read it
    by, as transformers does both.

    Raises:
        WorkError: no messages, or one without a role or content, by its index.
    """
    chat = mappings(messages, "messages")
    if not chat:
        raise WorkError("there is no message", where="messages")
    return [_message(message, f"messages[{n}]") for n, message in enumerate(chat)]


def _message(message: dict[str, Any], where: str) -> dict[str, Any]:
    message = {key: value for key, value in message.items() if value is not None}
    if not isinstance(message.get("role"), str):
        raise WorkError(
            "a message has no role",
            where=where,
            fix='give each message a role, such as "user", and content',
        )
    content = message.get("content")
    reasoning = next((message[key] for key in _REASONING if key in message), None)
    if content is None and reasoning is None and not message.get("tool_calls"):
        raise WorkError("a message has neither content nor tool_calls", where=where)
    if content is not None and not isinstance(content, str | list | dict):
        raise WorkError(
            f"content is {_kind(content)}, not text or a list of parts", where=f"{where}.content"
        )
    if reasoning is None:
        return message
    return {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"


def mark_final(chat: list[dict[str, Any]]) -> str:
    """Put a mark behind the content of the last message, and give that content.

    Raises:
        WorkError: the last message has no text to continue.
    """
    where = f"messages[{len(chat) - 1}].content"
    content, part = chat[-1].get("content"), chat[-1]
    key = "content"
    if isinstance(content, list):
        texts = [
            one for one in content if isinstance(one, dict) and isinstance(one.get("text"), str)
        ]
        content, part, key = (texts[-1]["text"], texts[-1], "text") if texts else (None, part, key)
    if not isinstance(content, str):
        raise WorkError("the last message has no text to continue", where=where)
    part[key] = content + _CONTINUES
    return content


def cut_final(text: str, content: str) -> str:
    """The text up to the end of the last message's content, where `mark_final` left its mark.

    Raises:
        WorkError: the template does not write that content.
    """
    end = text.rfind(_CONTINUES.strip())
    if end < 0 or content.strip() not in text[:end]:
        raise WorkError(
            "the template does not write the last message as it is, so it cannot be continued",
            where="messages, the last one",
            fix="continue another message, or use add_generation_prompt",
        )
    kept = text.startswith(_CONTINUES, end)  # the space behind the mark: content is not trimmed
    return text[:end] if kept else text[:end].rstrip()
