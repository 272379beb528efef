"""Text that follows a regular expression, a JSON Schema or a grammar, by llguidance.

Before each token a matcher says which tokens can go on; the others do not come. Where the grammar
ends, nothing but the model's own end is left.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tfcli.errors import UsageError, WorkError
from tfcli.generation.grammar_library import library, vocabulary_of
from tfcli.generation.json_schema import require_known
from tfcli.generation.processors import NEVER
from tfcli.generation.rows import common
from tfcli.tokenizers.load import Tokenizer

if TYPE_CHECKING:
    from tfcli.generation.keys import GenerationKeys

LOOKED_AT = 64
"""Steps of a grammar that are looked at before any text is made."""
DEPTH = 200
"""How deep a schema may be nested: deeper ones are met in attacks alone."""
_SPACES = {"whitespace_pattern": " ?"}
"""One space where JSON allows any: a weak model would write spaces without end."""


class Grammar:
    """What texts must look like, for one tokenizer.

    Args:
        source: of llguidance, as `LLMatcher.grammar_from_...` makes it.
        tokenizer: of the model.
        ends: ids that end a text.
        where: of the grammar, for errors.

    Raises:
        UsageError: nothing fits the grammar, the grammar is none, the model cannot end a text, or
            the tokenizer's tokens are not bytes of the text.
        WorkError: llguidance is not installed.
    """

    def __init__(self, source: str, tokenizer: Tokenizer, ends: Sequence[int], where: str) -> None:
        llguidance = library()
        problem = llguidance.LLMatcher.validate_grammar(source)
        if problem:
            raise _refused(problem, where)
        if not ends:
            raise UsageError(
                "the model has no token that ends a text, and one that follows a grammar ends "
                "where that does",
                where=where,
                fix="add eos_token_id to generation_config.json",
            )
        self._ends = frozenset(ends)
        self._matcher = llguidance.LLMatcher(
            vocabulary_of(tokenizer, tuple(ends)), source, log_level=0
        )
        if self._matcher.is_error():
            raise _refused(self._matcher.get_error(), where)
        if _never_ends(self._matcher, self._ends):
            raise _refused("no text fits it", where)

    def process(self, start: torch.Tensor) -> GrammarProcess:
        """What follows the grammar in each row of a batch.

        Args:
            start (Tensor): int64 [b], how many tokens each row has before its first new one.
        """
        return GrammarProcess(self._matcher, start.tolist(), self._ends)


class GrammarProcess:
    """A `Process` that leaves in each row the tokens with which its grammar goes on.

    Rows may change between two calls, as when a draft is refused or beams change places: what a row
    has in common with what its matcher has read stays read.
    """

    def __init__(self, matcher: Any, start: Sequence[int], ends: frozenset[int]) -> None:
        self._start, self._ends = list(start), ends
        self._matchers = [matcher.deep_copy() for _ in start]
        self._read: list[list[int]] = [[] for _ in start]

    def __call__(self, ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        rows = [self._allowed(number, row, logits) for number, row in enumerate(ids.tolist())]
        return logits.masked_fill(~torch.stack(rows).to(logits.device), NEVER)

    def _allowed(self, number: int, row: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        """Which tokens may come in a row: bool [vocab]."""
        vocab = logits.shape[-1]
        new = [token for token in row if token >= 0][self._start[number] :]
        # A text that has ended may be filled up, or be taken once more among beams.
        if row[-1] < 0 or not self._ends.isdisjoint(new):
            return torch.ones(vocab, dtype=torch.bool)
        matcher, read = self._matchers[number], self._read[number]
        same = len(read)
        if new[:same] != read:  # as a rule it is what was read and one token more
            same = common(read, new)
            matcher.rollback(len(read) - same)
        if not matcher.consume_tokens(new[same:]):
            raise WorkError("the text left its grammar", where=matcher.get_error() or None)
        self._read[number] = new
        allowed = _next_tokens(matcher)[:vocab]
        return torch.nn.functional.pad(allowed, (0, vocab - len(allowed)))


def grammar_of(keys: GenerationKeys, tokenizer: Tokenizer, ends: Sequence[int]) -> Grammar | None:
    """The grammar that a user asks for; None where there is none.

    Raises:
        UsageError, WorkError: see `Grammar`; a file that is no JSON, or whose schema has unknown
            words.
    """
    if keys.regex is not None:
        source = library().LLMatcher.grammar_from_regex(keys.regex)
        return Grammar(source, tokenizer, ends, "regex")
    if keys.grammar is not None:
        source = library().LLMatcher.grammar_from_lark(_text(keys.grammar))
        return Grammar(source, tokenizer, ends, "grammar")
    if keys.json_schema is not None:
        return schema_grammar(_text(keys.json_schema), tokenizer, ends)
    return None


def schema_grammar(
    schema: str, tokenizer: Tokenizer, ends: Sequence[int], where: str = "json_schema"
) -> Grammar:
    """The grammar of what fits a JSON Schema.

    Args:
        schema: its text.
        tokenizer: of the model.
        ends: ids that end a text.
        where: of the schema, for errors.

    Raises:
        UsageError, WorkError: as `grammar_of`.
    """
    content = _checked(schema, where)
    source = library().LLMatcher.grammar_from_json_schema(json.dumps(content), overrides=_SPACES)
    return Grammar(source, tokenizer, ends, where)


def lark_grammar(text: str, tokenizer: Tokenizer, ends: Sequence[int], where: str) -> Grammar:
    """The grammar of a text in llguidance's variant of Lark.

    Args:
        text: of the grammar.
        tokenizer: of the model.
        ends: ids that end a text.
        where: of what the grammar was made from, for errors.

    Raises:
        UsageError, WorkError: see `Grammar`.
    """
    return Grammar(library().LLMatcher.grammar_from_lark(text), tokenizer, ends, where)


def lark_schema(schema: str, where: str) -> str:
    """What stands in a Lark grammar for a value that fits a JSON Schema.

    Args:
        schema: its text, which is an object.
        where: of the schema, for errors.

    Raises:
        UsageError: no JSON, nested too deep, or with words that JSON Schema does not have.
    """
    content = _checked(schema, where)
    # `true` and `false` are schemas too, and have no room for how spaces are written.
    parts = dict(content) if isinstance(content, dict) else {"allOf": [content]}
    return f"%json {json.dumps({**parts, 'x-guidance': _SPACES})}"


def _checked(schema: str, where: str) -> Any:
    """A schema, all of whose words are known."""
    try:
        content = json.loads(schema)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"no JSON: {error}", where=where) from None
    if _depth(content) > DEPTH:
        raise UsageError(f"nested more than {DEPTH} deep", where=where, fix="use $ref")
    require_known(content, where)
    return content


def _next_tokens(matcher: Any) -> torch.Tensor:
    """Which tokens may come next: bool [vocab, filled up to whole bytes]."""
    mask = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
    return torch.from_numpy(np.unpackbits(mask, bitorder="little")).bool()


def _never_ends(matcher: Any, ends: Collection[int]) -> bool:
    """Whether every way through a grammar is known to come to nothing.

    A few steps are looked at: patterns that exclude everything do it early, as a rule.
    """
    open_now, looked_at = [matcher.deep_copy()], 0
    while open_now:
        here = open_now.pop()
        looked_at += 1
        if here.is_accepting() or looked_at > LOOKED_AT:
            return False
        # Where nothing goes on, llguidance leaves the end, whether the grammar does or not.
        ways = set(_next_tokens(here).nonzero()[:, 0].tolist()).difference(ends)
        if len(ways) > LOOKED_AT:
            return False
        for token in ways:
            further = here.deep_copy()
            if further.consume_token(token):
                open_now.append(further)
    return True


def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def _depth(content: Any) -> int:
    """How deep lists and objects lie in each other; nothing is called by itself."""
    deepest, open_now = 0, [(content, 1)]
    while open_now:
        value, depth = open_now.pop()
        deepest = max(deepest, depth)
        inner = value.values() if isinstance(value, dict) else value
        if isinstance(value, dict | list) and depth <= DEPTH:
            open_now += [(each, depth + 1) for each in inner]
    return deepest


def _refused(problem: str, where: str) -> UsageError:
    return UsageError(f"cannot be followed: {problem.strip()}", where=where, fix="change it")
