"""A model's words and its calls of tools, told apart while they come."""

from __future__ import annotations

import json
import secrets
from typing import Any

from tfcli.generation.ending import Ending
from tfcli.serve.served import Served
from tfcli.serve.tools.families import Call, form_of
from tfcli.tokenizers.chat_folder import choose_template


class Calls:
    """Lets words pass, and keeps what begins a call until it is whole.

    Args:
        served: the model.
        wanted: whether the request has tools; otherwise everything is words.
    """

    def __init__(self, served: Served, wanted: bool) -> None:
        self._form = form_of(choose_template(served.templates, tools=True)) if wanted else None
        self._before = None if self._form is None else Ending(self._form.marks)
        self._text = ""
        self._passed = 0

    def push(self, piece: str) -> str:
        """The words that can be shown."""
        self._text += piece
        if self._before is None:
            return piece
        if self._before.ended:
            return ""
        passed = self._before.push(piece)
        self._passed += len(passed)
        return passed

    def finish(self) -> tuple[str, list[Call]]:
        """What was kept and is no call after all, and the calls."""
        rest = self._text[self._passed :]
        if self._form is None or self._before is None:
            return "", []
        calls = self._form.read(rest) if self._before.ended else []
        return ("", calls) if calls else (rest, [])


def calls_of(served: Served, text: str) -> tuple[str, list[Call]]:
    """The words of a whole answer, and the calls in it."""
    calls = Calls(served, True)
    passed = calls.push(text)
    rest, found = calls.finish()
    return passed + rest, found


def openai_call(call: Call) -> dict[str, Any]:
    """A call as OpenAI's interface has it."""
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {
        "id": f"call_{secrets.token_hex(12)}",
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }
