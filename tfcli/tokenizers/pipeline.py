"""Checking the steps of a tokenizer.json before the tokenizers library takes them.

The library does what a file says: forty steps that each double a text, a pattern that takes an
hour, or a template that it fails over. Steps are looked at one by one, and what they make of a few
letters is measured step by step, so that no text grows far before it is refused.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import models

from tfcli.checkpoints.strict_json import kind, short
from tfcli.errors import WorkError
from tfcli.limits import (
    MAX_AFFIX,
    MAX_AROUND,
    MAX_GROWTH,
    MAX_STEP_DEPTH,
    MAX_STEP_GROWTH,
    MAX_STEP_TEXT,
    MAX_STEPS,
    MAX_WORD,
)
from tfcli.tokenizers.backend import panics_are_errors
from tfcli.tokenizers.charsmap import check_charsmap
from tfcli.tokenizers.regex_cost import check_pattern, may_be_empty
from tfcli.tokenizers.regex_syntax import ALPHABET, Unclear, members

PARTS = {
    "normalizer": "normalizers",
    "pre_tokenizer": "pretokenizers",
    "post_processor": "processors",
    "decoder": "decoders",
}
"""The parts of a tokenizer.json that have steps -> how a sequence of them calls its list."""

_KNOWN = {
    "normalizer": "BertNormalizer ByteLevel Lowercase NFC NFD NFKC NFKD Nmt Precompiled Prepend "
    "Replace Strip StripAccents",
    "pre_tokenizer": "BertPreTokenizer ByteLevel CharDelimiterSplit Digits FixedLength Metaspace "
    "Punctuation Split UnicodeScripts Whitespace WhitespaceSplit",
    "post_processor": "BertProcessing ByteLevel RobertaProcessing TemplateProcessing",
    "decoder": "BPEDecoder ByteFallback ByteLevel CTC Fuse Metaspace Replace Strip WordPiece",
}
_LETTERS = 16  # how often a letter stands in a sample
_CONSTANT = 256  # bytes that steps may add to any text
_TINY = {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}


def check_pipeline(parts: Mapping[str, Any], where: str) -> None:
    """Refuse steps that take time or memory without bound, or that the library fails over.

    Args:
        parts: the content of a tokenizer.json; of its keys, those of `PARTS` count.
        where: the file, for errors.

    Raises:
        WorkError: such a step; names the file, the part and the step.
    """
    for part, listed in PARTS.items():
        if parts.get(part) is None:
            continue
        place = f"{where}, {part}"
        steps = list(_flat(parts[part], listed, place, 0))
        if len(steps) > MAX_STEPS:
            raise WorkError(f"has {len(steps):,} steps, more than {MAX_STEPS}", where=place)
        samples = dict.fromkeys(letter * _LETTERS for letter in ALPHABET)
        growth, inserts = 1, 0
        for at, step in enumerate(steps, 1):
            growth *= _check_step(part, step, f"{place}, step {at} ({step['type']})", samples)
            inserts += _inserts(step)
            if inserts > 1:  # the library loses count of the letters
                raise WorkError(
                    "puts text where nothing stands, as a step before it does",
                    where=f"{place}, step {at} ({step['type']})",
                )
            if growth > MAX_STEP_GROWTH:
                raise _grows(f"{place}, step {at} ({step['type']})", MAX_STEP_GROWTH)
        if part != "post_processor":
            _measure(part, listed, steps, samples, place)


def check_model(model: models.Model, where: str) -> None:
    """Refuse a model that puts long texts to each letter, or takes the square of long words."""
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        text = getattr(model, name, None)
        if text and len(text) > MAX_AFFIX:
            what = f"{name} has {len(text):,} characters, more than {MAX_AFFIX}"
            raise WorkError(what, where=f"{where}, model")
    longest = getattr(model, "max_input_chars_per_word", 0)
    if longest > MAX_WORD:
        what = f"max_input_chars_per_word is {longest:,}, more than {MAX_WORD:,}"
        raise WorkError(what, where=f"{where}, model")


def _flat(step: Any, listed: str, where: str, depth: int) -> Iterator[dict[str, Any]]:
    """The steps of a part, those of sequences inside of it too."""
    if not isinstance(step, dict) or not isinstance(step.get("type"), str):
        raise WorkError(f"expected a step with its type, found {kind(step)}", where=where)
    if step["type"] != "Sequence":
        yield step
        return
    inner = step.get(listed)
    if not isinstance(inner, list) or depth >= MAX_STEP_DEPTH:
        what = "a sequence without a list of steps" if depth < MAX_STEP_DEPTH else "too many levels"
        raise WorkError(f"has {what}", where=where)
    for one in inner:
        yield from _flat(one, listed, where, depth + 1)


def _check_step(part: str, step: dict[str, Any], where: str, samples: dict[str, None]) -> int:
    """How many times as long a step may make a text, at most; adds texts that it looks for."""
    if step["type"] not in _KNOWN[part].split():
        raise WorkError(f"{short(step['type'])} is no kind of {part} that is known", where=where)
    for key, value in step.items():
        if isinstance(value, str) and key != "precompiled_charsmap":
            _check_length(key, value, where)
    if step["type"] == "TemplateProcessing":
        _check_template(step, where)
    if step["type"] == "Precompiled":
        _check_charsmap(step.get("precompiled_charsmap"), where)
    if step["type"] == "FixedLength" and step.get("length") == 0:
        raise WorkError("cuts text into pieces of no letters", where=where)
    if part == "decoder" and step["type"] == "Strip" and step.get("stop") not in (0, 1):
        # The library looks for them before the first letter, too.
        raise WorkError("takes more than one letter from the end of a token", where=where)
    empty, content = False, step.get("content", "")
    if step["type"] in ("Replace", "Split"):
        empty = _check_pattern(step.get("pattern"), where, samples)
    if step["type"] == "Replace" and isinstance(content, str):
        return max(1, len(content.encode()) + empty)
    if step["type"] == "Prepend":
        return 1 + len(str(step.get("prepend", "")).encode())
    return 2 if step["type"] in ("ByteLevel", "CTC", "BPEDecoder") else 1


def _inserts(step: dict[str, Any]) -> bool:
    pattern = step.get("pattern")
    if step["type"] != "Replace" or not step.get("content") or "Regex" not in (pattern or ()):
        return False
    return may_be_empty(check_pattern(step["pattern"]["Regex"]))


def _check_length(key: str, text: str, where: str) -> None:
    if len(text) > MAX_STEP_TEXT:
        raise WorkError(
            f"its {key} has {len(text):,} characters, more than {MAX_STEP_TEXT:,}", where=where
        )


def _check_charsmap(text: Any, where: str) -> None:
    try:
        charsmap = base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise WorkError("its precompiled_charsmap is not in base64", where=where) from None
    check_charsmap(charsmap, where)


def _check_pattern(pattern: Any, where: str, samples: dict[str, None]) -> bool:
    """Whether what a step looks for may be of no length."""
    if not isinstance(pattern, dict) or len(pattern) != 1:
        raise WorkError("its pattern is neither a String nor a Regex", where=where)
    (way, text), *_ = pattern.items()
    if way == "String" and isinstance(text, str):
        _check_length("pattern", text, where)
        if not text:
            raise WorkError("looks for a text of no length", where=where)
        samples[text * 2] = None
        return False
    if way != "Regex" or not isinstance(text, str):
        raise WorkError("its pattern is neither a String nor a Regex", where=where)
    try:
        tree = check_pattern(text)
    except Unclear as error:
        raise WorkError(
            f"its regular expression {short(text)} {error}",
            where=where,
            fix="use a tokenizer from a source you trust, or another pattern",
        ) from None
    samples["".join(sorted(members([tree])))] = None
    return may_be_empty(tree)


def _check_template(step: dict[str, Any], where: str) -> None:
    """The text stands once in what surrounds it, and every special token is there."""
    tokens = step.get("special_tokens")
    if not isinstance(tokens, dict):
        raise WorkError("special_tokens must be an object", where=where)
    for name, texts in (("single", ["A"]), ("pair", ["A", "B"])):
        pieces = step.get(name)
        if not isinstance(pieces, list) or len(pieces) > MAX_AROUND:
            raise WorkError(f"{name} must be a list of {MAX_AROUND} at most", where=where)
        found, count = [], 0
        for piece in pieces:
            (what, says), *_ = piece.items() if isinstance(piece, dict) and piece else [("", {})]
            own = says.get("id") if isinstance(says, dict) else None
            if what == "Sequence":
                found.append(own)
            elif what != "SpecialToken" or own not in tokens:
                raise WorkError(f"{name} has {short(str(own))}, of no special token", where=where)
            else:
                count += _count(tokens[own], where)
        if sorted(map(str, found)) != texts and not (name == "pair" and not pieces):
            raise WorkError(f"{name} must have each text once, has {found[:5]}", where=where)
        if count > MAX_AROUND:
            raise WorkError(f"{name} puts {count:,} ids around a text", where=where)


def _count(token: Any, where: str) -> int:
    ids, texts = (token.get("ids"), token.get("tokens")) if isinstance(token, dict) else (0, 0)
    if not isinstance(ids, list) or not isinstance(texts, list) or len(ids) != len(texts):
        raise WorkError("a special token must have as many ids as tokens", where=where)
    return len(ids)


def _measure(
    part: str, listed: str, steps: list[dict[str, Any]], samples: Mapping[str, None], where: str
) -> None:
    """Run the first step, the first two and so on, until one makes samples far too long."""
    for count in range(1, len(steps) + 1):
        value = {"type": "Sequence", listed: steps[:count]}
        place = f"{where}, step {count} ({steps[count - 1]['type']})"
        with panics_are_errors(place):
            length = _LENGTHS[part](_tiny(part, value))
            sizes = [(length(text), len(text.encode())) for text in samples if text]
        if any(after > MAX_GROWTH * before + _CONSTANT for after, before in sizes):
            raise _grows(place, MAX_GROWTH)


def _tiny(part: str, value: Any) -> Any:
    """The library's object for one part."""
    content = {"version": "1.0", "model": _TINY, part: value}
    return getattr(Backend.from_str(json.dumps(content)), part)


def _normalized(step: Any) -> Callable[[str], int]:
    return lambda text: len(step.normalize_str(text).encode())


def _cut(step: Any) -> Callable[[str], int]:
    return lambda text: sum(len(piece.encode()) for piece, _ in step.pre_tokenize_str(text))


def _decoded(step: Any) -> Callable[[str], int]:
    return lambda text: len(step.decode([text]).encode())


_LENGTHS = {"normalizer": _normalized, "pre_tokenizer": _cut, "decoder": _decoded}


def _grows(where: str, most: int) -> WorkError:
    return WorkError(
        f"makes a text more than {most:,} times as long",
        where=where,
        fix="use a tokenizer from a source you trust",
    )
