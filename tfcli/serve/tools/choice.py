"""Which tools a model may call in its turn, and which it must."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from tfcli.errors import hint
from tfcli.serve.http.errors import ApiError

ToolName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[a-zA-Z0-9_.-]+$")]
"""A function's name. No family has a way to write others."""


@dataclass(frozen=True)
class Tools:
    """The tools of a request.

    Args:
        functions: as chat templates take them, which is OpenAI's form.
        required: at least one is called.
        only: the one that is called; None: any of them.
        several: more than one may be called.
    """

    functions: Sequence[Mapping[str, Any]]
    required: bool = False
    only: str | None = None
    several: bool = True

    def candidates(self) -> list[Mapping[str, Any]]:
        """Names and parameters of those that can be called."""
        found = [each["function"] for each in self.functions]
        return [each for each in found if self.only in (None, each["name"])]


def chosen(
    functions: Sequence[Mapping[str, Any]] | None,
    choice: str | None,
    *,
    only: str | None = None,
    several: bool | None = None,
) -> Tools | None:
    """The tools that a model is told of; None: of none.

    Args:
        functions: see `Tools`.
        choice: `none`, `auto` or `required`; None: it was not said.
        only: the name of the one that must be called.
        several: whether more than one may be; None: it was not said.

    Raises:
        ApiError: a choice without tools, or of a tool that there is not.
    """
    if not functions:
        if several is not None:
            raise ApiError(400, "how many calls there may be has no effect without tools")
        if choice in (None, "none", "auto") and only is None:
            return None
        raise ApiError(400, "tool_choice has no effect without tools", param="tool_choice")
    names = [each["function"]["name"] for each in functions]
    if len(set(names)) < len(names):
        raise ApiError(400, "two tools have the same name", param="tools")
    if only is not None and only not in names:
        message = f"there is no tool {only!r}; {hint(only, names)}"
        raise ApiError(400, message, param="tool_choice")
    if choice == "none":
        return None
    required = choice == "required" or only is not None
    return Tools(functions, required, only, several is not False)
