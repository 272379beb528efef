"""Whether every word of a JSON Schema is understood: none is passed over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tfcli.errors import UsageError, hint

ONE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames",
       "unevaluatedItems", "unevaluatedProperties", "additionalItems")  # fmt: skip
"""Keywords whose value is a schema."""
SEVERAL = ("prefixItems", "anyOf", "allOf", "oneOf")
"""Those whose value is a list of them; `items` may be one, too."""
NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Those whose value has them by names of its own."""
NOTES = (
    *("$schema", "$id", "$anchor", "$comment", "$vocabulary", "id", "title", "description"),
    *("default", "examples", "deprecated", "readOnly", "writeOnly"),
)
"""Keywords that say something to people, and of no value."""
VALUES = (
    *("type", "enum", "const", "$ref", "required", "minLength", "maxLength", "pattern", "format"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems"),
    *("maxItems", "uniqueItems", "minProperties", "maxProperties", "dependentRequired"),
    *("minContains", "maxContains", "dependencies", "$dynamicRef", "$dynamicAnchor"),
    *("$recursiveRef", "$recursiveAnchor"),
)
PASSED_OVER = ("contentEncoding", "contentMediaType", "contentSchema")
"""Words that JSON Schema has and llguidance says nothing of."""
KNOWN = frozenset((*ONE, *SEVERAL, *NAMED, *NOTES, *VALUES))


def require_known(schema: Any, where: str) -> None:
    """Refuse a word that JSON Schema does not have: what it should limit would stay free.

    Whether a word that it has can be followed is for llguidance to say, which refuses the rest.

    Args:
        schema: as it was read.
        where: of the schema, for the error.

    Raises:
        UsageError: no schema, or an unknown word; says where in the schema, and the nearest.
    """
    for path, part in _parts(schema, "#"):
        if isinstance(part, bool):
            continue
        if not isinstance(part, Mapping):
            raise UsageError(
                f"{path} is no schema but {type(part).__name__}",
                where=where,
                fix="a schema is an object, true or false",
            )
        for word in part:
            if word in PASSED_OVER:
                raise UsageError(
                    f"{path}: {word} cannot be followed", where=where, fix="leave it out"
                )
            if word not in KNOWN:
                raise UsageError(
                    f"{path} has the word {word!r}, which JSON Schema does not have",
                    where=where,
                    fix=hint(word, KNOWN) or "leave it out",
                )


def _parts(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    """A schema and all that are in it, each with its place."""
    yield path, schema
    if not isinstance(schema, Mapping):
        return
    for word, value in schema.items():
        here = f"{path}/{word}"
        if word in NAMED and isinstance(value, Mapping):
            for name, part in value.items():
                yield from _parts(part, f"{here}/{name}")
        elif word in (*SEVERAL, "items") and isinstance(value, list):
            for number, part in enumerate(value):
                yield from _parts(part, f"{here}/{number}")
        elif word in (*ONE, *SEVERAL):
            yield from _parts(value, here)
