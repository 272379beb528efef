"""What a checkpoint folder says of conversations: its chat templates, and whether a BOS begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tfcli.errors import UsageError, WorkError, hint
from tfcli.files import inside
from tfcli.limits import MAX_TEMPLATE
from tfcli.tokenizers.declared import read_object


def find_templates(folder: Path | str) -> dict[str, str]:
    """The chat templates of a folder, by name; the one for everything is `default`.

    A chat_template.jinja replaces what tokenizer_config.json has; a chat_template.json, which older
    processors have, counts where there is neither. additional_chat_templates/ adds one a file.

    Raises:
        WorkError: a file that cannot be read.
    """
    folder = Path(folder)
    own = inside(folder, "chat_template.jinja")
    if own.exists():
        found = {"default": _read(own)}
    else:
        found = _in_json(folder, "tokenizer_config.json") or _in_json(folder, "chat_template.json")
    more = inside(folder, "additional_chat_templates")
    for file in sorted(more.glob("*.jinja")) if more.is_dir() else ():
        found[file.stem] = _read(inside(folder, f"{more.name}/{file.name}"))
    return found


def choose_template(
    templates: Mapping[str, str], name: str | None = None, *, tools: bool = False
) -> str:
    """The template of that name; without one, `tool_use` where there are tools, or `default`.

    Raises:
        UsageError: there is none of that name, or no name is given and there is no default.
    """
    if not templates:
        raise UsageError(
            "the model has no chat template",
            fix="it continues plain text; or put a chat_template.jinja into its folder",
        )
    if name is None:
        name = "tool_use" if tools and "tool_use" in templates else "default"
    if name not in templates:
        raise UsageError(f"there is no chat template {name!r}", fix=hint(name, templates))
    return templates[name]


def declared_bos(folder: Path | str) -> bool | None:
    """Whether a BOS begins every text, as `add_bos_token` says; None leaves it to the tokenizer."""
    value = read_object(Path(folder), "tokenizer_config.json").get("add_bos_token")
    return value if isinstance(value, bool) else None


def _in_json(folder: Path, name: str) -> dict[str, str]:
    template = read_object(folder, name).get("chat_template")
    if template is None:
        return {}
    if isinstance(template, str):
        return {"default": template}
    try:
        found = {item["name"]: item["template"] for item in template}
    except (TypeError, KeyError):
        found = {None: None}
    if not all(isinstance(one, str) for pair in found.items() for one in pair):
        raise WorkError(
            "chat_template is neither text nor a list of name and template",
            where=str(folder / name),
        )
    return found


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_TEMPLATE:
            raise WorkError(f"a chat template of more than {MAX_TEMPLATE:,} bytes", where=str(file))
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WorkError(f"not readable as text: {error}", where=str(file)) from error
