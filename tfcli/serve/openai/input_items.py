"""What a response goes on from: turns, thoughts, calls and what they gave, each an item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from tfcli.serve.http.errors import ApiError
from tfcli.serve.openai.messages import arguments_object
from tfcli.serve.parts import as_content, image_part
from tfcli.serve.wishes import Body


class InputText(Body):
    """Text of a message."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None

    def for_template(self) -> dict[str, Any]:
        """As templates take it."""
        return {"type": "text", "text": self.text}


class InputImage(Body):
    """An image, as a data URL: the server fetches nothing."""

    type: Literal["input_image"]
    image_url: str
    detail: str | None = None

    def for_template(self) -> dict[str, Any]:
        """As templates take it."""
        return image_part(self.image_url)


InputPart = Annotated[InputText | InputImage, Field(discriminator="type")]
Content = str | list[InputPart]


class InputMessage(Body):
    """A turn."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class FunctionCall(Body):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: str | None = None


class FunctionOutput(Body):
    """What a call gave."""

    type: Literal["function_call_output"]
    call_id: str
    output: Content
    id: str | None = None
    status: str | None = None


class ReasoningText(Body):
    """A part of thoughts."""

    type: Literal["reasoning_text", "summary_text"]
    text: str


class Reasoning(Body):
    """Thoughts of the model."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: list[ReasoningText] = Field(default_factory=list)
    content: list[ReasoningText] | None = None
    encrypted_content: None = None
    status: str | None = None


def _kind(item: Any) -> Any:
    """The type of an item; a message need not say it."""
    if isinstance(item, dict):
        return item.get("type", "message")
    return getattr(item, "type", None)


InputItem = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionOutput, Tag("function_call_output")]
    | Annotated[Reasoning, Tag("reasoning")],
    Discriminator(_kind),
]


def turns_of(items: Sequence[InputItem]) -> list[dict[str, Any]]:
    """The conversation as templates take it: words, thoughts and calls of the model that follow
    each other are one message.

    Raises:
        ApiError: an image that is no data URL, arguments that are no JSON, the result of a call
            that there is not.
    """
    found: list[dict[str, Any]] = []
    called: set[str] = set()
    for item in items:
        if isinstance(item, FunctionOutput):
            if item.call_id not in called:
                message = f"the output is of the call {item.call_id!r}, which is not in the input"
                raise ApiError(400, message, param="input")
            content = _content(item.output)
            found.append({"role": "tool", "tool_call_id": item.call_id, "content": content})
        elif isinstance(item, InputMessage) and item.role != "assistant":
            found.append({"role": item.role, "content": _content(item.content)})
        else:
            turn = _own_turn(found)
            if isinstance(item, InputMessage):
                turn["content"] = _joined(turn["content"], _content(item.content))
            elif isinstance(item, Reasoning):
                texts = [part.text for part in item.content or item.summary]
                turn["reasoning_content"] = "\n".join(texts)
            else:
                called.add(item.call_id)
                turn.setdefault("tool_calls", []).append(_call(item))
    return found


def _own_turn(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The message of the model that an item of its own belongs to."""
    if not found or found[-1]["role"] != "assistant":
        found.append({"role": "assistant", "content": ""})
    return found[-1]


def _joined(before: Any, new: Any) -> Any:
    if not before:
        return new
    if isinstance(before, str) and isinstance(new, str):
        return f"{before}\n{new}"
    raise ApiError(400, "an image stands in a turn of the model", param="input")


def _call(item: FunctionCall) -> dict[str, Any]:
    arguments = arguments_object(item.arguments)
    function = {"name": item.name, "arguments": arguments}
    return {"id": item.call_id, "type": "function", "function": function}


def _content(content: Content) -> Any:
    if isinstance(content, str):
        return content
    return as_content([part.for_template() for part in content])
