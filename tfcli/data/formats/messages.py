"""`messages`: a conversation as OpenAI writes them, with the tools that may be called."""

from __future__ import annotations

from typing import Any

from tfcli.data.formats.format import Format, from_json, listed, object_of
from tfcli.data.formats.media import MEDIA_COLUMNS, take_media
from tfcli.data.formats.sample import Chat
from tfcli.data.rows import Row
from tfcli.errors import WorkError
from tfcli.tokenizers.chat_messages import conversation


def _read(row: Row) -> Chat:
    return chat(row, listed(row, "messages"), "messages")


def chat(row: Row, messages: list[Any] | None, column: str) -> Chat:
    """The conversation of a row, with its tools; its messages have a role each.

    Raises:
        WorkError: no messages, or one of another form; names the row.
    """
    if not messages:
        raise WorkError(f"{column!r} has no message", where=row.where)
    said = [message(each, row, f"{column}[{n}]") for n, each in enumerate(messages)]
    without, media = take_media(said, row)
    try:
        made = conversation(without)
    except WorkError as error:
        raise WorkError(error.what, where=f"{row.where}, {error.where}", fix=error.fix) from error
    return Chat(made, tools(row), media=media)


def message(value: Any, row: Row, name: str) -> dict[str, Any]:
    """A message whose tool calls have arguments that are values.

    OpenAI writes arguments as a text of JSON; templates write values as JSON themselves.

    Raises:
        WorkError: it is no object, or its arguments are no JSON.
    """
    found = dict(object_of(value, row, name))
    if not isinstance(found.get("tool_calls"), list):
        return found
    calls = []
    for number, each in enumerate(found["tool_calls"]):
        where = f"{name}.tool_calls[{number}]"
        call = dict(object_of(each, row, where))
        function = dict(object_of(call.get("function", call), row, f"{where}.function"))
        if isinstance(function.get("arguments"), str):
            arguments = f"{where}.function.arguments"
            function["arguments"] = from_json(function["arguments"], row, arguments)
        calls.append({**call, "function": function} if "function" in call else function)
    # A table gives a message without calls an empty list of them.
    if calls:
        return {**found, "tool_calls": calls}
    del found["tool_calls"]
    return found


def tools(row: Row) -> list[dict[str, Any]] | None:
    """The tools of a row; None where it has none.

    Raises:
        WorkError: they are no list of objects.
    """
    found = listed(row, "tools")
    return [dict(object_of(each, row, f"tools[{n}]")) for n, each in enumerate(found or ())] or None


MESSAGES = Format(
    "messages",
    ("messages",),
    ("tools", *MEDIA_COLUMNS),
    _read,
    '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}',
)
