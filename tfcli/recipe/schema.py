"""The JSON Schema of recipe files, so that an editor completes keys and marks mistakes."""

from __future__ import annotations

from typing import Any

from tfcli.recipe.verbs import VERBS

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema() -> dict[str, Any]:
    """The schema of any recipe file: one command with its keys, or named steps."""
    definitions: dict[str, Any] = {}
    for name in VERBS:
        definitions[f"{name}-step"] = _step(name, in_recipe=True, definitions=definitions)
        definitions[f"{name}-recipe"] = _step(name, in_recipe=False, definitions=definitions)
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
    schema = VERBS[name].spec().model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(schema.pop("$defs", {}))
    properties = {
        "command": {"const": name, "description": VERBS[name].summary},
        **schema["properties"],
    }
    required = ["command", *schema.get("required", [])]
    if in_recipe:
        # A step's output is its folder in the recipe's output.
        properties.pop("output", None)
        required = [key for key in required if key != "output"]
    else:
        # Flags may give what the file leaves out.
        properties["description"] = {"type": "string", "description": "What it does, in a line."}
        required = ["command"]
    return {**schema, "properties": properties, "required": required}
