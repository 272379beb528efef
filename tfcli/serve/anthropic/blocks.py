"""Turns of Anthropic's interface, and what a chat template is given of them."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from pydantic import Field

from tfcli.serve.tools.families import Call
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


class ToolUseBlock(Body):
    """A call that the assistant made in an earlier turn."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]
    cache_control: CacheControl | None = None


class ToolResultBlock(Body):
    """What a call gave."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[TextBlock] = ""
    is_error: bool = False
    cache_control: CacheControl | None = None


Block = Annotated[TextBlock | ToolUseBlock | ToolResultBlock, Field(discriminator="type")]


class Turn(Body):
    """A turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str | list[Block]


class AnthropicTool(Body):
    """A function that the model may call."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    description: str | None = None
    input_schema: dict[str, Any]
    type: Literal["custom"] = "custom"
    cache_control: CacheControl | None = None

    def for_template(self) -> dict[str, Any]:
        """As templates take it, which is OpenAI's form."""
        function: dict[str, Any] = {"name": self.name, "parameters": self.input_schema}
        if self.description is not None:
            function["description"] = self.description
        return {"type": "function", "function": function}


def system_text(system: str | list[TextBlock]) -> str:
    """The system's words."""
    return system if isinstance(system, str) else "\n".join(block.text for block in system)


def for_template(turn: Turn) -> list[dict[str, Any]]:
    """The messages that a turn is in a template: a result of a tool is one of its own there."""
    if isinstance(turn.content, str):
        return [{"role": turn.role, "content": turn.content}]
    found: list[dict[str, Any]] = []
    words = [block.text for block in turn.content if isinstance(block, TextBlock)]
    for block in turn.content:
        if isinstance(block, ToolResultBlock):
            text = system_text(block.content)
            said = f"Error: {text}" if block.is_error else text
            found.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": said})
    calls = [
        {
            "id": block.id,
            "type": "function",
            "function": {"name": block.name, "arguments": block.input},
        }
        for block in turn.content
        if isinstance(block, ToolUseBlock)
    ]
    if calls:
        found.append({"role": turn.role, "content": "\n".join(words), "tool_calls": calls})
    elif words:
        found.append({"role": turn.role, "content": "\n".join(words)})
    return found


def tool_block(call: Call) -> dict[str, Any]:
    """A call as this interface has it."""
    return {
        "type": "tool_use",
        "id": f"toolu_{secrets.token_hex(12)}",
        "name": call.name,
        "input": call.arguments,
    }
