"""What a task's templates make of a sample.

A template is a column's name, or Jinja over the columns, rendered in the sandbox of chat templates:
a task comes from somewhere else, too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tfcli.errors import UsageError, WorkError, hint
from tfcli.evaluate.tasks.keys import Template
from tfcli.tokenizers.chat_sandbox import SANDBOX, Limits

_UNDEFINED = re.compile(r"'([^']+)' is undefined")
_NOW = datetime(1970, 1, 1, tzinfo=UTC)  # a task says the same every day


def rendered(template: str, doc: Mapping[str, Any], where: str) -> str:
    """The text of a template.

    Raises:
        UsageError: it asks for a column that the sample lacks.
        WorkError: it fails, or takes too much.
    """
    if "{" not in template:
        return template
    try:
        return SANDBOX.render(template, doc, _NOW, Limits(), of_task=True)[0]
    except WorkError as error:
        asked = _UNDEFINED.search(error.what)
        if asked and asked[1] not in doc:
            raise UsageError(
                f"the template asks for a column {asked[1]!r}, which the data lack",
                where=where,
                fix=hint(asked[1], list(doc)),
            ) from error
        raise WorkError(error.what, where=where, fix=error.fix) from error
    except ValueError as error:  # marshal has no form for it
        kinds = {name: type(value).__name__ for name, value in doc.items()}
        raise WorkError(f"a column holds no text, number or list: {kinds}", where=where) from error


def text_of(template: Template, doc: Mapping[str, Any], where: str, choices: bool) -> Any:
    """What `doc_to_text` says of a sample: a text, or with choices perhaps the number of one."""
    if not isinstance(template, str):
        return template
    if template in doc:
        return doc[template]
    text = rendered(template, doc, where)
    return int(text) if choices and text.isdecimal() else text


def target_of(template: Template, doc: Mapping[str, Any], where: str, choices: bool) -> Any:
    """What `doc_to_target` says of a sample: a text, a choice's number, or a list of either."""
    found = text_of(template, doc, where, choices)
    if not isinstance(template, str) or template in doc or not isinstance(found, str):
        return found
    is_list = len(found) >= 2 and found[0] == "[" and found[-1] == "]"
    return _literal(found, found) if is_list else found


def choices_of(template: Template, doc: Mapping[str, Any], where: str) -> list[str]:
    """What `doc_to_choice` says of a sample: the texts to choose from.

    Raises:
        UsageError: no list of texts.
    """
    found: Any = template
    if isinstance(template, str):
        found = doc[template] if template in doc else _literal(rendered(template, doc, where), None)
    if isinstance(found, dict):
        found = list(found.values())
    if not isinstance(found, list) or not found:
        raise UsageError(f"the choices are no list of texts: {found!r}", where=where)
    return [str(each) for each in found]


def _literal(text: str, otherwise: Any) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return otherwise
