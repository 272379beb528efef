"""Messages of OpenAI's interface, and what a chat template is given of them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field

from tfcli.serve.http.errors import ApiError
from tfcli.serve.parts import as_content, image_part
from tfcli.serve.wishes import Body


class TextPart(Body):
    """A part of a message that is text."""

    type: Literal["text"]
    text: str


class ImageUrl(Body):
    """An image, as a data URL: the server fetches nothing."""

    url: str
    detail: str | None = None


class ImagePart(Body):
    """A part of a message that is an image."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class CalledFunction(Body):
    """The function that was called."""

    name: str
    arguments: str


class ToolCall(Body):
    """A call that the assistant made in an earlier turn."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Body):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None

    def for_template(self) -> dict[str, Any]:
        """As templates take it: arguments of calls as objects, and text alone as one text."""
        found: dict[str, Any] = {"role": self.role, "content": self._content()}
        for key in ("name", "tool_call_id", "reasoning_content"):
            if getattr(self, key) is not None:
                found[key] = getattr(self, key)
        if self.tool_calls:
            found["tool_calls"] = [
                {
                    "id": call.id,
                    "type": call.type,
                    "function": {
                        "name": call.function.name,
                        "arguments": arguments_object(call.function.arguments),
                    },
                }
                for call in self.tool_calls
            ]
        return found

    def _content(self) -> Any:
        if not isinstance(self.content, list):
            return self.content or ""
        parts = [
            {"type": "text", "text": part.text}
            if isinstance(part, TextPart)
            else image_part(part.image_url.url)
            for part in self.content
        ]
        return as_content(parts)


def arguments_object(arguments: str) -> Any:
    """Arguments of a call, which the interface has as text.

    Raises:
        ApiError: they are no JSON object.
    """
    try:
        found = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        raise ApiError(
            400, "the arguments of a call are no JSON", param="messages.tool_calls"
        ) from None
    if not isinstance(found, dict):
        raise ApiError(
            400, "the arguments of a call are no JSON object", param="messages.tool_calls"
        )
    return found
