"""The JSON Schema of recipe files, so that an editor completes keys and marks mistakes."""

from __future__ import annotations

from typing import Any

from tfcli.recipe.marks import Also, Only, Spellings, marks
from tfcli.recipe.spec import Section, entries_of, section_of
from tfcli.recipe.sweep_section import SweepSection
from tfcli.recipe.verbs import VERBS

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema() -> dict[str, Any]:
    """The schema of any recipe file: one command with its keys, or named steps."""
    definitions: dict[str, Any] = {}
    for name in VERBS:
        definitions[f"{name}-step"] = _step(name, in_recipe=True, definitions=definitions)
        definitions[f"{name}-recipe"] = _step(name, in_recipe=False, definitions=definitions)
    sweep = SweepSection.model_json_schema()
    _add_marks(SweepSection, sweep, definitions)
    return {
        "$schema": DRAFT,
        "title": "tfcli recipe",
        "if": {"type": "object", "required": ["steps"]},
        "then": {
            "type": "object",
            "additionalProperties": False,
            "required": ["steps"],
            "properties": {
                "name": {"type": "string", "description": "The recipe's name."},
                "description": {"type": "string", "description": "What it does, in a line."},
                "output": {
                    "type": "string",
                    "description": "The folder of the steps' folders (default: runs/<name>).",
                },
                "steps": {
                    "type": "object",
                    "description": "Step name -> step; ${name} is an earlier step's folder.",
                    "additionalProperties": _by_command("step"),
                },
                "sweep": sweep | {"description": "What `tfcli sweep` varies; no run looks at it."},
            },
        },
        "else": _by_command("recipe"),
        "$defs": definitions,
    }


def _by_command(kind: str) -> dict[str, Any]:
    """Pick the definition by the value of `command`: errors then speak of the right verb."""
    return {
        "type": "object",
        "required": ["command"],
        "properties": {"command": {"enum": list(VERBS)}},
        "allOf": [
            {
                "if": {"properties": {"command": {"const": name}}},
                "then": {"$ref": f"#/$defs/{name}-{kind}"},
            }
            for name in VERBS
        ],
    }


def _step(name: str, *, in_recipe: bool, definitions: dict[str, Any]) -> dict[str, Any]:
    spec = VERBS[name].spec()
    schema = spec.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(schema.pop("$defs", {}))
    _add_marks(spec, schema, definitions)
    properties = {
        "command": {"const": name, "description": VERBS[name].summary},
        **schema["properties"],
    }
    other_names = {key for key, _ in marks(spec.model_fields, Also)}  # may stand in for the key
    required = ["command", *(key for key in schema.get("required", []) if key not in other_names)]
    if in_recipe:
        # A step's output is its folder in the recipe's output.
        properties.pop("output", None)
        required = [key for key in required if key != "output"]
    else:
        # Flags may give what the file leaves out.
        properties["description"] = {"type": "string", "description": "What it does, in a line."}
        required = ["command"]
    return {**schema, "properties": properties, "required": required}


def _add_marks(cls: type[Section], schema: dict[str, Any], definitions: dict[str, Any]) -> None:
    """What pydantic does not know of a spec's keys: other names, other spellings, conditions."""
    properties = schema["properties"]
    for name, only in marks(cls.model_fields, Only):
        text = properties[name].get("description", "")
        properties[name]["description"] = f"{text} Only with {only.as_keys()}."
    for name, spellings in marks(cls.model_fields, Spellings):
        for choices in (properties[name], *properties[name].get("anyOf", ())):
            if "enum" in choices:
                choices["enum"] = [*choices["enum"], *spellings.of]
    for name, also in marks(cls.model_fields, Also):
        for other in also.names:
            properties[other] = properties[name] | {"description": f"Another name of {name}."}
    for field in cls.model_fields.values():
        section = section_of(field.annotation) or entries_of(field.annotation)
        if section and section.__name__ in definitions:
            _add_marks(section, definitions[section.__name__], definitions)
            if section.stands_for is not None:
                text = {"type": "string", "description": f"The same as {section.stands_for} alone."}
                keys = definitions[section.__name__]
                definitions[section.__name__] = {"anyOf": [text, keys]}
