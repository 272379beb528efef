"""Turns of Anthropic's interface, and what a chat template is given of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tfcli.serve.parts import as_content, image_part
from tfcli.serve.wishes import Body


class CacheControl(Body):
    """A wish for a cache, which every text gets without one."""

    type: Literal["ephemeral"]
    ttl: str | None = None


class TextBlock(Body):
    """Text."""

    type: Literal["text"]
    text: str
    cache_control: CacheControl | None = None

    def for_template(self) -> dict[str, Any]:
        """As templates take it."""
        return {"type": "text", "text": self.text}


class ToolUseBlock(Body):
    """A call that the assistant made in an earlier turn."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]
    cache_control: CacheControl | None = None


class DataSource(Body):
    """An image's data."""

    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class UrlSource(Body):
    """An image's address, from which nothing is fetched; a data URL has the image in it."""

    type: Literal["url"]
    url: str


class ImageBlock(Body):
    """An image."""

    type: Literal["image"]
    source: Annotated[DataSource | UrlSource, Field(discriminator="type")]
    cache_control: CacheControl | None = None

    def for_template(self) -> dict[str, Any]:
        """As templates take it."""
        if isinstance(self.source, UrlSource):
            return image_part(self.source.url)
        return image_part(f"data:{self.source.media_type};base64,{self.source.data}")


class ThinkingBlock(Body):
    """Thoughts of the assistant in an earlier turn. They are not signed here."""

    type: Literal["thinking"]
    thinking: str
    signature: str = ""


Shown = Annotated[TextBlock | ImageBlock, Field(discriminator="type")]


class ToolResultBlock(Body):
    """What a call gave."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[Shown] = ""
    is_error: bool = False
    cache_control: CacheControl | None = None


Block = Annotated[
    TextBlock | ImageBlock | ThinkingBlock | ToolUseBlock | ToolResultBlock,
    Field(discriminator="type"),
]


class Turn(Body):
    """A turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str | list[Block]


def system_text(system: str | list[TextBlock]) -> str:
    """The system's words."""
    return system if isinstance(system, str) else "\n".join(block.text for block in system)


def for_template(turn: Turn) -> list[dict[str, Any]]:
    """The messages that a turn is in a template: a result of a tool is one of its own there.

    Raises:
        ApiError: an image that is no data.
    """
    if isinstance(turn.content, str):
        return [{"role": turn.role, "content": turn.content}]
    found = [_result(block) for block in turn.content if isinstance(block, ToolResultBlock)]
    shown = [
        block.for_template() for block in turn.content if isinstance(block, TextBlock | ImageBlock)
    ]
    thoughts = [block.thinking for block in turn.content if isinstance(block, ThinkingBlock)]
    calls = [
        {
            "id": block.id,
            "type": "function",
            "function": {"name": block.name, "arguments": block.input},
        }
        for block in turn.content
        if isinstance(block, ToolUseBlock)
    ]
    if shown or calls or thoughts:
        message: dict[str, Any] = {"role": turn.role, "content": as_content(shown)}
        if thoughts:
            message["reasoning_content"] = "\n".join(thoughts)
        if calls:
            message["tool_calls"] = calls
        found.append(message)
    return found


def _result(block: ToolResultBlock) -> dict[str, Any]:
    parts = block.content
    content = parts if isinstance(parts, str) else as_content([one.for_template() for one in parts])
    if block.is_error:
        said = {"type": "text", "text": "Error: "}
        content = f"Error: {content}" if isinstance(content, str) else [said, *content]
    return {"role": "tool", "tool_call_id": block.tool_use_id, "content": content}
