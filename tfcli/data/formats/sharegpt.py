"""`sharegpt`: a conversation whose messages say `from` and `value`."""

from __future__ import annotations

from typing import Any

from tfcli.data.formats.format import Format, from_json, listed, object_of, text_of
from tfcli.data.formats.media import MEDIA_COLUMNS
from tfcli.data.formats.messages import chat
from tfcli.data.formats.sample import Chat
from tfcli.data.rows import Row
from tfcli.errors import WorkError

CALL = "function_call"
ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "observation": "tool",
    "function_response": "tool",
    "tool": "tool",
}
"""What `from` says -> the role. `function_call` is the assistant's too."""


def _read(row: Row) -> Chat:
    found = listed(row, "conversations") or []
    messages = [_message(each, row, f"conversations[{n}]") for n, each in enumerate(found)]
    system = text_of(row, "system", default="")
    if system and messages:
        messages.insert(0, {"role": "system", "content": system})
    return chat(row, messages, "conversations")


def _message(value: Any, row: Row, name: str) -> dict[str, Any]:
    found = object_of(value, row, name)
    if "role" in found:  # some write OpenAI's messages under this name
        return dict(found)
    who, said = found.get("from"), found.get("value")
    if who == CALL:
        call = from_json(said, row, f"{name}.value") if isinstance(said, str) else said
        calls = call if isinstance(call, list) else [call]
        return {
            "role": "assistant",
            "tool_calls": [
                {"type": "function", "function": dict(object_of(each, row, f"{name}.value"))}
                for each in calls
            ],
        }
    if who not in ROLES:
        raise WorkError(
            f"{name} is from {who!r}, which is no role",
            where=row.where,
            fix=f"one of {', '.join([*ROLES, CALL])}",
        )
    return {"role": ROLES[who], "content": said}


SHAREGPT = Format(
    "sharegpt",
    ("conversations",),
    ("system", "tools", *MEDIA_COLUMNS),
    _read,
    '{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}',
)
