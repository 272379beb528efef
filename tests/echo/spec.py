from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from tfcli.recipe.spec import Result, Section, Spec


class Inner(Section):
    """A section."""

    rate: float = Field(0.5, description="A rate.")
    fast: bool = Field(False, description="Whether.")


class EchoSpec(Spec):
    """Say it again."""

    verb = "echo"
    positional = ("model", "places")
    model: str = Field(description="One word.")
    places: list[str] = Field(description="All the words that are left.")
    inner: Inner = Inner()
    table: dict[str, int] | None = Field(None, description="Has no flag.")


class EchoResult(Result):
    """What was asked for."""

    schema_name: ClassVar[str] = "tfcli.echo/1"
    spec: dict[str, Any] = Field(description="The keys and their values.")
