"""Tools of OpenAI's interface, and the choice among them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any, Literal

from tfcli.serve.tools.choice import ToolName, Tools, chosen
from tfcli.serve.tools.families import Call
from tfcli.serve.wishes import Body


class FunctionSchema(Body):
    """A function that the model may call."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    """A tool, which is a function."""

    type: Literal["function"] = "function"
    function: FunctionSchema

    def for_template(self) -> dict[str, Any]:
        """As templates take it."""
        return self.model_dump(exclude_none=True)


class ResponseTool(FunctionSchema):
    """The same in the responses interface, where a function's keys are the tool's."""

    type: Literal["function"]

    def for_template(self) -> dict[str, Any]:
        """As templates take it."""
        function = self.model_dump(exclude={"type", "strict"}, exclude_none=True)
        return {"type": "function", "function": function}


class NamedFunction(Body):
    """The name of a function."""

    name: str


class FunctionChoice(Body):
    """The function that must be called."""

    type: Literal["function"]
    function: NamedFunction


class ResponseFunctionChoice(Body):
    """The same in the responses interface."""

    type: Literal["function"]
    name: str


Word = Literal["none", "auto", "required"]


def chosen_tools(
    tools: Sequence[Tool | ResponseTool] | None,
    choice: Word | FunctionChoice | ResponseFunctionChoice | None,
    parallel: bool | None,
) -> Tools | None:
    """The tools that the model is told of; see `tools.choice.chosen`."""
    functions = [tool.for_template() for tool in tools or ()]
    if isinstance(choice, FunctionChoice):
        return chosen(functions, None, only=choice.function.name, several=parallel)
    if isinstance(choice, ResponseFunctionChoice):
        return chosen(functions, None, only=choice.name, several=parallel)
    return chosen(functions, choice, several=parallel)


def openai_call(call: Call) -> dict[str, Any]:
    """A call as the chat has it."""
    return {
        "id": f"call_{secrets.token_hex(12)}",
        "type": "function",
        "function": {"name": call.name, "arguments": arguments_text(call)},
    }


def arguments_text(call: Call) -> str:
    """The arguments of a call, which OpenAI's interface has as text."""
    return json.dumps(call.arguments, ensure_ascii=False)
