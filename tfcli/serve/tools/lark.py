"""Grammars of whole turns: calls that must come, and values of a schema, after any thoughts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tfcli.errors import UsageError
from tfcli.generation.grammar import lark_schema
from tfcli.serve.tools.families import NAME, Spelling
from tfcli.serve.tools.manner import Thinking
from tfcli.tokenizers.load import Tokenizer


def calls_lark(
    functions: Sequence[Mapping[str, Any]],
    spelling: Spelling,
    thinking: Thinking | None,
    tokenizer: Tokenizer,
    *,
    opened: bool,
    several: bool,
) -> str:
    """The grammar of a turn that calls some of these functions.

    Args:
        functions: their names, and schemas of their parameters.
        spelling: of calls.
        thinking: of the model, whose thoughts may come first.
        tokenizer: of the model.
        opened: the prompt has begun the thoughts.
        several: there may be more than one call.

    Raises:
        UsageError: parameters that are no object, or whose schema cannot be followed.
    """
    rules, names = [], []
    for number, function in enumerate(functions):
        before, after = (
            _spelt(text.replace(NAME, function["name"]), tokenizer)
            for text in (spelling.before, spelling.after)
        )
        names.append(f"call_{number}")
        rules.append(f"{names[-1]}: {before} arguments_{number} {after}")
        rules.append(f"arguments_{number}: {_arguments(function)}")
    rules.append(f"call: {' | '.join(names)}")
    calls = "call"
    if several and spelling.between is not None:
        calls = f"call ({_spelt(spelling.between, tokenizer)} call)*"
    begin, end = _spelt(spelling.begin, tokenizer), _spelt(spelling.end, tokenizer)
    return _turn(f"{begin} {calls} {end}", rules, thinking, tokenizer, opened=opened)


def schema_lark(
    schema: str, thinking: Thinking | None, tokenizer: Tokenizer, *, opened: bool, where: str
) -> str:
    """The grammar of a turn that says a value of a JSON Schema, and nothing else.

    Args:
        schema: its text.
        thinking, tokenizer, opened: see `calls_lark`.
        where: of the schema, for errors.

    Raises:
        UsageError: the schema cannot be followed.
    """
    words = "" if thinking is None else _spelt(thinking.words, tokenizer)
    rules = [f"value: {lark_schema(schema, where)}"]
    return _turn(f"{words} value", rules, thinking, tokenizer, opened=opened)


def _turn(
    body: str, rules: list[str], thinking: Thinking | None, tokenizer: Tokenizer, *, opened: bool
) -> str:
    """What comes after thoughts, with the rules that it names."""
    if thinking is None:
        return "\n".join((f"start: {body}", *rules))
    end = _spelt(thinking.end, tokenizer)
    # A token ends any text before it; characters do where they come for the first time.
    lazy = "" if end.startswith("<[") else "[lazy]"
    begun = rf"thoughts /\n{{0,{thinking.breaks}}}/"
    if not opened:
        begun = f"({_spelt(thinking.begin, tokenizer)} {begun})?"
    thoughts = (f"thoughts{lazy}: ANY {end}", r"ANY: /(.|\n)*/")
    return "\n".join((f"start: {begun} {body}", *thoughts, *rules))


def _arguments(function: Mapping[str, Any]) -> str:
    """The arguments of a function, which are an object by name."""
    where = f"tools.{function['name']}.parameters"
    schema = function.get("parameters") or {}
    if schema.get("type", "object") != "object":
        raise UsageError("parameters are an object", where=where, fix='say "type": "object"')
    return lark_schema(json.dumps({**schema, "type": "object"}), where)


def _spelt(text: str, tokenizer: Tokenizer) -> str:
    """A text as Lark has it: tokens of their own by number, what is between them as characters."""
    added = {
        token.content: index
        for index, token in tokenizer.backend.get_added_tokens_decoder().items()
        if token.content in text
    }
    if not added:
        return json.dumps(text) if text else ""
    longest_first = sorted(added, key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, longest_first))})", text)
    return " ".join(
        f"<[{added[part]}]>" if part in added else json.dumps(part) for part in parts if part
    )
