"""The syntax of Oniguruma's regular expressions, which a tokenizer.json brings, as a tree.

A class of characters, such as `[^\\s\\p{L}]`, is asked of the library itself: which characters of a
sample it takes. So no table of Unicode's properties is repeated here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Regex, normalizers

from tfcli.limits import MAX_PATTERN, MAX_PATTERN_DEPTH

ALPHABET = "".join(map(chr, range(128))) + (
    "\x85\xa0\u2028\u3000"  # spaces and ends of lines
    "ªµßÀàÿĀāŉǅǆʰʻ\u0301\u0345ͰΩωЖжאبअกĲ⁰²½Ⅷ٣५\U0001d7d8"  # letters, marks and digits
    "ひカー中𠀀한ㄱㅏ"
    "—“”\u2018\u2019…·€£©®™←∑■★♥️👍🏽\u200b\u200d\ufeff\ue000"  # the rest
)
"""A character of each kind that a class may tell apart."""


class Unclear(Exception):  # noqa: N818 - an answer, not an error of its own
    """A pattern that is not one, or has parts of which nobody can say what they cost."""


@dataclass(frozen=True)
class Char:
    """One character of a set."""

    chars: frozenset[str]


@dataclass(frozen=True)
class Cat:
    """One part after another."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Alt:
    """One of several."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Rep:
    """A part again and again; `most` is None where there is no end, `keeps` where it is atomic."""

    part: Node
    least: int
    most: int | None
    keeps: bool = False


@dataclass(frozen=True)
class Atomic:
    """A part that is not tried another way once it has matched."""

    part: Node


@dataclass(frozen=True)
class Look:
    """A part that is looked for without going on."""

    part: Node


@dataclass(frozen=True)
class Anchor:
    """A place; `start` for that of the text's beginning."""

    start: bool = False


Node = Char | Cat | Alt | Rep | Atomic | Look | Anchor

_INTERVAL = re.compile(r"\{(\d*)(,?)(\d*)\}")
_FLAGS = re.compile(r"\(\?([a-zA-Z]*)(?:-([a-zA-Z]*))?([:)])")
_NAMED = re.compile(r"\(\?(?:<([A-Za-z_]\w*)>|'([A-Za-z_]\w*)')")
_CODED = re.compile(r"\\(?:x\{[0-9A-Fa-f]{1,8}\}|x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{4}|[pP]\{[^}]*\})")
_POINTS = re.compile(r"\\[xu]\{?([0-9A-Fa-f]{1,6})")
_UNSEEN = frozenset({"unseen"})  # of classes that take no character of the sample: they may be one
_GROUPS = {"(?:": None, "(?=": Look, "(?!": Look, "(?<=": Look, "(?<!": Look, "(?>": Atomic}


def parse_pattern(pattern: str) -> Node:
    """The tree of a pattern.

    Raises:
        Unclear: no pattern, too long or too deep, or one with back references, calls of itself,
            conditions or code.
    """
    if len(pattern) > MAX_PATTERN:
        raise Unclear(f"has {len(pattern):,} characters, more than {MAX_PATTERN:,}")
    parser = _Parser(pattern)
    node = parser.alternatives(0, False)
    if parser.at < len(pattern):
        raise Unclear("closes a bracket that is not open")
    return node


class _Parser:
    def __init__(self, pattern: str) -> None:
        self.text, self.at = pattern, 0
        points = [int(one, 16) for one in _POINTS.findall(pattern)]
        coded = [chr(one) for one in points if one < 0xD800 or 0xDFFF < one < 0x110000]
        self.sample = "".join(dict.fromkeys([*ALPHABET, *pattern, *coded]))
        self._known: dict[tuple[str, bool], frozenset[str]] = {}

    def alternatives(self, depth: int, folded: bool) -> Node:
        if depth > MAX_PATTERN_DEPTH:
            raise Unclear(f"is nested more than {MAX_PATTERN_DEPTH} deep")
        options = []
        while True:
            part, folded = self._sequence(depth, folded)
            options.append(part)
            if not self._take("|"):
                return options[0] if len(options) == 1 else Alt(tuple(options))

    def _sequence(self, depth: int, folded: bool) -> tuple[Node, bool]:
        parts: list[Node] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            flags = _FLAGS.match(self.text, self.at)
            if flags and flags[3] == ")":  # they hold to the end of the group
                self.at = flags.end()
                folded = _folded(flags, folded)
                continue
            if self.text.startswith("(?#", self.at):
                self._to(")", "a comment")
                continue
            parts.append(self._repeated(self._one(depth, folded)))
        return (parts[0] if len(parts) == 1 else Cat(tuple(parts))), folded

    def _one(self, depth: int, folded: bool) -> Node:
        letter = self.text[self.at]
        if letter == "(":
            return self._group(depth, folded)
        if letter == "[":
            return self._class(folded)
        if letter == "\\":
            return self._escape(folded)
        self.at += 1
        if letter in "^$":
            return Anchor()
        if letter == ".":
            return Char(frozenset(self.sample) - {"\n"})
        if letter in "*+?":
            raise Unclear("repeats nothing")
        return Char(_cases(letter) if folded else frozenset(letter))

    def _group(self, depth: int, folded: bool) -> Node:
        kind: type[Look] | type[Atomic] | None = None
        flags, named = _FLAGS.match(self.text, self.at), _NAMED.match(self.text, self.at)
        start = next((s for s in _GROUPS if self.text.startswith(s, self.at)), None)
        if start is not None:
            kind = _GROUPS[start]
            self.at += len(start)
        elif flags:
            folded = _folded(flags, folded)
            self.at = flags.end()
        elif named:
            self.at = named.end()
        elif self.text.startswith(("(?", "(*"), self.at):
            raise Unclear(f"has a group {self.text[self.at : self.at + 3]}")
        else:
            self.at += 1
        inner = self.alternatives(depth + 1, folded)
        if not self._take(")"):
            raise Unclear("opens a bracket that is not closed")
        return inner if kind is None else kind(inner)

    def _class(self, folded: bool) -> Node:
        start, depth = self.at, 0
        while self.at < len(self.text):
            letter = self.text[self.at]
            if letter == "\\":
                self.at += 1
            elif self.text.startswith("[:", self.at) and ":]" in self.text[self.at :]:
                self._to(":]", "a class")
                continue
            elif letter == "[":
                depth += 1
                # A bracket that closes at once is itself a member.
                after = self.text[self.at + 1 : self.at + 3]
                self.at += 1 if after[:1] == "]" else 2 if after == "^]" else 0
            elif letter == "]":
                depth -= 1
                if depth == 0:
                    self.at += 1
                    return Char(self._asked(self.text[start : self.at], folded))
            self.at += 1
        raise Unclear("opens a class that is not closed")

    def _escape(self, folded: bool) -> Node:
        start = self.at
        letter = self.text[start + 1 : start + 2]
        coded = _CODED.match(self.text, start)
        self.at = coded.end() if coded else start + 2
        if not letter:
            raise Unclear("ends with a backslash")
        if letter in "bBzZGKyY":
            return Anchor()
        if letter == "A":
            return Anchor(start=True)
        if letter == "R":
            return Atomic(Cat((Char(frozenset("\r\n\v\f")), Rep(Char(frozenset("\n")), 0, 1))))
        if letter in "123456789kgX":
            raise Unclear(f"has \\{letter}")
        if letter.isalnum() or coded:
            return Char(self._asked(self.text[start : self.at], folded))
        return Char(frozenset(letter))

    def _asked(self, text: str, folded: bool) -> frozenset[str]:
        """The characters of the sample that a class takes, as the library says."""
        known = self._known.get((text, folded))
        if known is None:
            try:
                asked = normalizers.Replace(Regex(f"(?i:{text})" if folded else text), "")
                left = asked.normalize_str(self.sample)
            except Exception as error:  # noqa: BLE001 - the library raises no other
                raise Unclear(f"is not one: {str(error)[:200]}") from None
            taken = frozenset(self.sample) - frozenset(left)
            known = self._known[text, folded] = taken or _UNSEEN
        return known

    def _repeated(self, node: Node) -> Node:
        while self.at < len(self.text):
            letter = self.text[self.at]
            interval = _INTERVAL.match(self.text, self.at)
            if letter in "*+?":
                self.at += 1
                keeps = self._take("+")
                if not keeps:
                    self._take("?")
                least, most = int(letter == "+"), 1 if letter == "?" else None
                node = Rep(node, least, most, keeps)
            elif interval and (interval[1] or interval[3]):
                self.at = interval.end()
                least = int(interval[1] or 0)
                most = int(interval[3]) if interval[3] else None if interval[2] else least
                if self._take("?") and not interval[2]:
                    least = 0  # of {n}? Oniguruma makes an optional {n}
                if most is not None and most < least:
                    least, most = most, least
                node = Rep(node, least, most)
            else:
                break
        return node

    def _take(self, text: str) -> bool:
        found = self.text.startswith(text, self.at)
        self.at += len(text) * found
        return found

    def _to(self, end: str, what: str) -> None:
        at = self.text.find(end, self.at)
        if at < 0:
            raise Unclear(f"opens {what} that is not closed")
        self.at = at + len(end)


def _cases(letter: str) -> frozenset[str]:
    return frozenset({letter, *letter.lower(), *letter.upper()})


def _folded(flags: re.Match[str], folded: bool) -> bool:
    """Whether capitals count as small letters from here on."""
    if "x" in flags[1]:
        raise Unclear("has the flag x")
    return "i" in flags[1] or (folded and "i" not in (flags[2] or ""))


def members(parts: Sequence[Node]) -> frozenset[str]:
    """Every character that one of the parts can take."""
    found: frozenset[str] = frozenset()
    for part in parts:
        if isinstance(part, Char):
            found |= part.chars
        elif isinstance(part, (Cat, Alt)):
            found |= members(part.parts)
        elif isinstance(part, (Rep, Atomic)):
            found |= members([part.part])
    return found
