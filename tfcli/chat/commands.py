"""What a user can say that is no message: lines that begin with a slash."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tfcli.chat.session import Conversation, Message
from tfcli.chat.spec import ChatSpec
from tfcli.checkpoints.strict_json import read_json
from tfcli.errors import UsageError, WorkError, hint
from tfcli.files import write_text
from tfcli.generation.keys import GenerationKeys
from tfcli.recipe.overrides import parse_set

ROLES = ("system", "user", "assistant", "tool")


@dataclass
class Talk:
    """What commands work on.

    Args:
        spec: of the run; `/set` changes it.
        conversation: what was said.
        changed: is called with the spec when `/set` has changed it.
    """

    spec: ChatSpec
    conversation: Conversation
    changed: Callable[[ChatSpec], None]


def obey(line: str, talk: Talk) -> str:
    """Do what a line asks for; returns what is to be said of it.

    Raises:
        UsageError: no such command, or one without what it needs.
        WorkError: a file that cannot be read or written.
    """
    name, _, rest = line.removeprefix("/").partition(" ")
    if name not in COMMANDS:
        raise UsageError(f"/{name} is no command", fix=hint(name, COMMANDS))
    return COMMANDS[name].work(talk, rest.strip())


def _help(talk: Talk, rest: str) -> str:
    return "\n".join(
        f"/{name} {each.takes}".ljust(20) + each.says for name, each in COMMANDS.items()
    )


def _save(talk: Talk, rest: str) -> str:
    path = Path(_needed(rest, "/save FILE"))
    text = json.dumps(talk.conversation.messages, ensure_ascii=False, indent=2)
    try:
        write_text(path, f"{text}\n")
    except OSError as error:
        raise WorkError(f"cannot be written: {error.strerror}", where=str(path)) from error
    return f"{len(talk.conversation.messages)} messages in {path}"


def _load(talk: Talk, rest: str) -> str:
    talk.conversation.messages = read_messages(Path(_needed(rest, "/load FILE")))
    return f"{len(talk.conversation.messages)} messages"


def _system(talk: Talk, rest: str) -> str:
    talk.conversation.set_system(rest or None)
    return "the system message is " + (repr(rest) if rest else "gone")


def _reset(talk: Talk, rest: str) -> str:
    kept = [each for each in talk.conversation.messages if each["role"] == "system"]
    talk.conversation.messages = kept
    return "a new conversation"


def _image(talk: Talk, rest: str) -> str:
    talk.conversation.add_image(_needed(rest, "/image FILE"))
    return f"{len(talk.conversation.images)} for the next message"


def _set(talk: Talk, rest: str) -> str:
    _needed(rest, "/set KEY=VALUE")
    values = parse_set([rest])
    for key in values:
        if key not in (*GenerationKeys.model_fields, "max_new_tokens"):
            known = (*GenerationKeys.model_fields, "max_new_tokens")
            raise UsageError(f"{key} is no key of how text is made", fix=hint(key, known))
    given = talk.spec.model_dump(exclude_unset=True)
    try:
        spec = ChatSpec(**{**given, **values})
    except ValidationError as error:
        raise UsageError(error.errors()[0]["msg"], where=rest) from None
    talk.changed(spec)
    talk.spec = spec
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _needed(rest: str, usage: str) -> str:
    if not rest:
        raise UsageError("something is missing", fix=usage)
    return rest


@dataclass(frozen=True)
class _Command:
    takes: str
    says: str
    work: Callable[[Talk, str], str]


COMMANDS: Mapping[str, _Command] = {
    "help": _Command("", "what can be said here", _help),
    "system": _Command("TEXT", "put a system message first; without a text, take it away", _system),
    "image": _Command("FILE", "show the model an image with the next message", _image),
    "set": _Command("KEY=VALUE", "change a key of how text is made, such as temperature", _set),
    "save": _Command("FILE", "write the conversation down", _save),
    "load": _Command("FILE", "go on with one that was written down", _load),
    "reset": _Command("", "forget what was said, but for the system message", _reset),
}


def read_list(path: Path) -> list[Any]:
    """A file of JSON that is a list.

    Raises:
        WorkError: it cannot be read, or is something else.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise WorkError("must be a list", where=str(path))
    return content


def read_messages(path: Path) -> list[Message]:
    """The messages of a conversation that was written down.

    Raises:
        WorkError: no such file, or none of messages; says which is wrong.
    """
    content = read_list(path)
    for number, message in enumerate(content):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise WorkError(
                f"message {number} has no role", where=str(path), fix=f"one of {', '.join(ROLES)}"
            )
        if not isinstance(message.get("content"), str | list | None):
            raise WorkError(f"message {number} has no content", where=str(path))
    return content
