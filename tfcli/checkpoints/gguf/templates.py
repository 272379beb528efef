"""Chat templates by name, as GGUF's keys and as files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError
from tfcli.files import write_text

DEFAULT = "tokenizer.chat_template"
NAMES = "tokenizer.chat_templates"
FOLDER = "additional_chat_templates"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def write_templates(templates: Mapping[str, str]) -> dict[str, Value]:
    """The keys of a checkpoint's templates; `default` is the one for everything.

    Names have letters, digits and `_`, as in files of llama.cpp's own.
    """
    found, names = {}, []
    for name, template in templates.items():
        if name == "default":
            found[DEFAULT] = Value("string", template)
            continue
        key = re.sub(r"[^A-Za-z0-9]", "_", name)
        found[f"{DEFAULT}.{key}"] = Value("string", template)
        names.append(key)
    if names:
        found[NAMES] = Value("array[string]", names)
    return found


def read_templates(metadata: Mapping[str, Any], where: str) -> dict[str, str]:
    """The templates of a file by name.

    Raises:
        WorkError: a name that cannot be a file's, or a template that is no text.
    """
    found = {}
    for key, template in metadata.items():
        if key != DEFAULT and not key.startswith(f"{DEFAULT}."):
            continue
        name = "default" if key == DEFAULT else key.removeprefix(f"{DEFAULT}.")
        if not _NAME.fullmatch(name) or not isinstance(template, str):
            raise WorkError(f"{short(key)}: no template's name, or no text", where=where)
        found[name] = template
    return found


def write_named(templates: Mapping[str, str], folder: Path) -> list[str]:
    """Write the templates that have names of their own, and beside them the default one.

    Without others, the default one stands in tokenizer_config.json alone, where every program looks
    for it; beside others transformers looks into chat_template.jinja only.

    Returns:
        The names of the files.
    """
    files = {f"{FOLDER}/{name}.jinja": name for name in templates if name != "default"}
    if not files:
        return []
    if "default" in templates:
        files["chat_template.jinja"] = "default"
    (folder / FOLDER).mkdir(exist_ok=True)
    for file, name in files.items():
        write_text(folder / file, templates[name])
    return list(files)
