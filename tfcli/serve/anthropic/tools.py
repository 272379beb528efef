"""Tools of Anthropic's interface, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from tfcli.serve.anthropic.blocks import CacheControl
from tfcli.serve.tools.choice import ToolName, Tools, chosen
from tfcli.serve.wishes import Body


class AnthropicTool(Body):
    """A function that the model may call."""

    name: ToolName
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


class FreeChoice(Body):
    """Tools may be called, or with `any` one must be."""

    type: Literal["auto", "any"]
    disable_parallel_tool_use: bool | None = None


class OneChoice(Body):
    """The tool that must be called."""

    type: Literal["tool"]
    name: str
    disable_parallel_tool_use: bool | None = None


class NoChoice(Body):
    """No tool is called."""

    type: Literal["none"]


Choice = Annotated[FreeChoice | OneChoice | NoChoice, Field(discriminator="type")]


def chosen_tools(
    tools: Sequence[AnthropicTool] | None, choice: FreeChoice | OneChoice | NoChoice | None
) -> Tools | None:
    """The tools that the model is told of; see `tools.choice.chosen`."""
    functions = [tool.for_template() for tool in tools or ()]
    if choice is None or isinstance(choice, NoChoice):
        return chosen(functions, None if choice is None else "none")
    several = None
    if choice.disable_parallel_tool_use is not None:
        several = not choice.disable_parallel_tool_use
    if isinstance(choice, OneChoice):
        return chosen(functions, None, only=choice.name, several=several)
    return chosen(functions, "required" if choice.type == "any" else "auto", several=several)
