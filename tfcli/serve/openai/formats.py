"""What an answer must look like: any text, a JSON object, or what fits a schema."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field

from tfcli.serve.wishes import Body


class TextFormat(Body):
    """Any text."""

    type: Literal["text"]

    def schema_text(self) -> str | None:
        """The JSON Schema that the text fits; None: there is none."""
        return None


class ObjectFormat(Body):
    """A JSON object."""

    type: Literal["json_object"]

    def schema_text(self) -> str | None:
        """See `TextFormat`."""
        return json.dumps({"type": "object"})


class NamedSchema(Body):
    """A schema with a name, which nothing depends on."""

    name: str
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class SchemaFormat(Body):
    """What fits a schema. It is followed to the letter, whether it is called strict or not."""

    type: Literal["json_schema"]
    json_schema: NamedSchema

    def schema_text(self) -> str | None:
        """See `TextFormat`."""
        return json.dumps(self.json_schema.schema_)
