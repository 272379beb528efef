"""Refusing regular expressions whose time is not in proportion to the text.

Oniguruma, the engine of the tokenizers library, tries one way after another. How many there are
follows from the pattern alone (Weideman et al. 2016, "Analyzing matching time behavior of
backtracking regular expression matchers by using ambiguity of NFA"), and a way is only tried again
where something after it can fail. Refused are, where that is so:

- a repetition that can divide the same text in two ways, such as `(a+)+b`: exponential;
- two repetitions of the same characters in a row, such as `a*a*b`: cubic;
- one of letters and spaces alike which each place of a text begins, such as `.*x`: quadratic;
- many optional parts, such as thirty `a?`.

What is left is quadratic at most in a run of one kind of characters, such as spaces: the patterns
that models in use have, `\\s+(?!\\S)` among them, are so.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from tfcli.limits import MAX_PATTERN_PARTS, MAX_PATTERN_WAYS
from tfcli.tokenizers.regex_syntax import (
    ALPHABET,
    Alt,
    Anchor,
    Atomic,
    Cat,
    Char,
    Look,
    Node,
    Rep,
    Unclear,
    members,
    parse_pattern,
)

_ANY = frozenset(ALPHABET)
_PROSE = frozenset("e ")  # a set that has both goes on for a whole text
_LOOP = 8  # a range of counts that is wider is taken for one without end
_PAIRS = 100_000  # steps of two paths through a repetition that are looked at
_CHAINS = 64  # ways to have come to a place that are told apart


def check_pattern(pattern: str) -> Node:
    """The tree of a pattern, where its time is in bounds.

    Raises:
        Unclear: it is not a pattern, or one that takes too long; says why.
    """
    node = parse_pattern(pattern)
    _size(node)
    _Walk().visit(node, False, False, [_Chain(_ANY, _ANY, 0)])
    return node


def may_be_empty(node: Node) -> bool:
    """Whether a pattern may match no character."""
    return _shortest(node) == 0


def _shortest(node: Node) -> int:
    if isinstance(node, Char):
        return 1
    if isinstance(node, Cat):
        return sum(map(_shortest, node.parts))
    if isinstance(node, Alt):
        return min(map(_shortest, node.parts))
    if isinstance(node, Rep):
        return node.least * _shortest(node.part)
    return _shortest(node.part) if isinstance(node, Atomic) else 0


def _can_fail(node: Node) -> bool:
    """Whether there is a text after which a part does not match."""
    if isinstance(node, (Char, Look, Anchor)):
        return True
    if isinstance(node, Cat):
        return any(map(_can_fail, node.parts))
    if isinstance(node, Alt):
        return all(map(_can_fail, node.parts))
    if isinstance(node, Rep):
        return node.least > 0 and _can_fail(node.part)
    return _can_fail(node.part)


def _endless(node: Rep) -> bool:
    return node.most is None or node.most - node.least > _LOOP


def _size(node: Node) -> int:
    """How many characters a pattern has when its counts are written out.

    Raises:
        Unclear: more than `MAX_PATTERN_PARTS`.
    """
    if isinstance(node, (Cat, Alt)):
        size = sum(map(_size, node.parts))
    elif isinstance(node, Rep):
        size = _size(node.part) * max(1, node.least, node.most or 0)
    else:
        size = 1 if isinstance(node, (Char, Anchor)) else _size(node.part)
    if size > MAX_PATTERN_PARTS:
        raise Unclear(f"has more than {MAX_PATTERN_PARTS:,} parts when its counts are written out")
    return size


@dataclass(frozen=True)
class _Chain:
    """A way to have come to a place.

    Args:
        shared: characters that all repetitions on the way can take.
        run: those that everything on the way can take.
        loops: how many repetitions.
    """

    shared: frozenset[str]
    run: frozenset[str]
    loops: int

    def after(self, chars: frozenset[str]) -> _Chain:
        """The way with a character more."""
        return replace(self, run=self.run & chars)


@dataclass
class _Walk:
    """Goes through a pattern in the order in which it matches."""

    ways: int = field(default=1)

    def visit(self, node: Node, fails: bool, later: bool, chains: list[_Chain]) -> list[_Chain]:
        """Refuse what takes too long in a part.

        Args:
            fails: something after the part can fail, so that its other ways are tried.
            later: something after it can fail, so that other ways of what is before are tried;
                then the part is gone through again, also where it keeps what it has.
            chains: the ways to its beginning.

        Returns:
            the ways to its end
        """
        if isinstance(node, Char):
            return [chain.after(node.chars) for chain in chains if chain.shared & node.chars]
        if isinstance(node, Anchor):
            return [] if node.start else chains
        if isinstance(node, (Look, Atomic)):
            ways, self.ways = self.ways, 1
            found = self.visit(node.part, False, later, chains)
            self.ways = ways
            return found if isinstance(node, Atomic) else chains
        if isinstance(node, Alt):
            return self._alternatives(node, fails, later, chains)
        if isinstance(node, Cat):
            for at, part in enumerate(node.parts):
                rest = any(map(_can_fail, node.parts[at + 1 :]))
                chains = self.visit(part, fails or rest, later or rest, chains)
            return chains
        return self._repetition(node, fails and not node.keeps, later, chains)

    def _alternatives(
        self, node: Alt, fails: bool, later: bool, chains: list[_Chain]
    ) -> list[_Chain]:
        before, found, ways = self.ways, [], []
        for part in node.parts:
            self.ways = before
            found += self.visit(part, fails, later, chains)
            ways.append(self.ways)
        self.ways = max(ways)
        if fails:
            self.ways = before
            self._options(sum(ways) // before, fails)
        return _merged(found)

    def _repetition(
        self, node: Rep, fails: bool, later: bool, chains: list[_Chain]
    ) -> list[_Chain]:
        if not _endless(node):
            most = node.most or 0
            self._options(most - node.least + 1, fails)
            passed, times = (chains if node.least == 0 else []), 1
            for count in range(1, min(most, 3) + 1):  # a third time says what every other does
                more, before = count < node.least, self.ways
                chains = self.visit(node.part, fails or more, later or more, chains)
                times = self.ways // before
                passed = passed + chains if count >= min(node.least, 3) else passed
            for _ in range(most - 3 if times > 1 else 0):
                self._options(times, True)
            return _merged(passed)
        chars = members([node.part])
        more = node.least > 1 and _can_fail(node.part)
        if fails and _divides(node.part):
            raise Unclear("repeats what can be divided in two ways, and then can fail")
        self.visit(node.part, fails or more, later or more, chains)
        found = [] if node.least else list(chains)
        for chain in chains:
            shared = chain.shared & chars
            if not shared:
                continue
            if later and chain.loops >= 1:
                raise Unclear("repeats the same characters twice in a row, and then can fail")
            if later and chain.loops == 0 and chain.run & chars >= _PROSE:
                raise Unclear("goes through the text from each place in it, and then can fail")
            found.append(_Chain(shared, chain.run & chars, chain.loops + 1))
        return _merged([*found, _Chain(chars, frozenset(), 1)])

    def _options(self, count: int, fails: bool) -> None:
        self.ways *= count if fails else 1
        if self.ways > MAX_PATTERN_WAYS:
            raise Unclear(f"can match the same text in more than {MAX_PATTERN_WAYS:,} ways")


def _merged(chains: list[_Chain]) -> list[_Chain]:
    found = list(dict.fromkeys(chains))
    if len(found) > _CHAINS:
        raise Unclear(f"has more than {_CHAINS} ways to one place")
    return found


# A repetition divides a text in two ways when two paths through its automaton (Glushkov 1961) take
# the same characters from one position to another.


@dataclass
class _Automaton:
    """Positions and how often each follows another.

    Args:
        chars: of each position.
        first, last: positions, and in how many ways one can begin or end there.
        empty: in how many ways it matches nothing.
        follow: pairs of positions.
    """

    chars: list[frozenset[str]]
    first: Counter[int]
    last: Counter[int]
    empty: int
    follow: Counter[tuple[int, int]]


def _automaton(node: Node, chars: list[frozenset[str]]) -> _Automaton:
    if isinstance(node, Char):
        chars.append(node.chars)
        place = len(chars) - 1
        return _Automaton(chars, Counter([place]), Counter([place]), 0, Counter())
    if isinstance(node, (Look, Anchor)):
        return _Automaton(chars, Counter(), Counter(), 1, Counter())
    if isinstance(node, Atomic):
        return _automaton(node.part, chars)
    if isinstance(node, Cat):
        return _joined([_automaton(part, chars) for part in node.parts], chars)
    if isinstance(node, Alt):
        parts = [_automaton(part, chars) for part in node.parts]
        found = _Automaton(chars, Counter(), Counter(), 0, Counter())
        for part in parts:
            found.first += part.first
            found.last += part.last
            found.empty += part.empty
            found.follow += part.follow
        return found
    return _repeated(node, chars)


def _joined(parts: list[_Automaton], chars: list[frozenset[str]]) -> _Automaton:
    whole = _Automaton(chars, Counter(), Counter(), 1, Counter())
    for part in parts:
        whole.follow += part.follow
        _connect(whole.follow, whole.last, part.first)
        whole.first += Counter({at: n * whole.empty for at, n in part.first.items()})
        whole.last = part.last + Counter({at: n * part.empty for at, n in whole.last.items()})
        whole.empty *= part.empty
    return whole


def _repeated(node: Rep, chars: list[frozenset[str]]) -> _Automaton:
    if node.most is None or node.most > _LOOP:
        whole = _automaton(node.part, chars)
        _connect(whole.follow, whole.last, whole.first)
        whole.empty = max(whole.empty, int(node.least == 0))
        return whole
    parts = []
    for count in range(node.most):
        part = _automaton(node.part, chars)
        if count >= node.least:
            # One that is left out leaves out those after it, so nothing is counted twice.
            part.empty = 1
        parts.append(part)
    return _joined_in_turn(parts, node.least, chars)


def _joined_in_turn(parts: list[_Automaton], least: int, chars: list[frozenset[str]]) -> _Automaton:
    """`least` parts and then others that each come only after the one before."""
    whole = _joined(parts[:least], chars)
    first, ends, empty = whole.first, Counter(whole.last), whole.empty
    for part in parts[least:]:
        whole.follow += part.follow
        _connect(whole.follow, whole.last, part.first)
        first = first + Counter({at: n * whole.empty for at, n in part.first.items()})
        whole.last, whole.empty = part.last, 0
        ends += part.last
    return _Automaton(chars, first, ends, empty if least else 1, whole.follow)


def _connect(follow: Counter[tuple[int, int]], last: Counter[int], first: Counter[int]) -> None:
    for one, ways in last.items():
        for other, more in first.items():
            follow[one, other] += ways * more


def _divides(body: Node) -> bool:
    """Whether a repetition of this can take the same text in two ways."""
    if isinstance(body, Char):
        return False
    found = _automaton(body, [])
    if len(found.chars) > MAX_PATTERN_PARTS // 4:
        raise Unclear("repeats a part that is too large to be looked at")
    _connect(found.follow, found.last, found.first)
    if any(ways > 1 for ways in found.follow.values()) or found.empty > 1:
        return True
    after: dict[int, list[int]] = {}
    for one, other in found.follow:
        after.setdefault(one, []).append(other)

    def steps(one: int, other: int) -> list[tuple[int, int]]:
        return [
            (x, y)
            for x in after.get(one, ())
            for y in after.get(other, ())
            if found.chars[x] & found.chars[y]
        ]

    looked = sum(len(some) ** 2 for some in after.values())
    if looked > _PAIRS:
        raise Unclear("repeats a part that is too large to be looked at")
    waiting = [pair for at in after for pair in steps(at, at) if pair[0] < pair[1]]
    seen = set(waiting)
    while waiting:
        one, other = waiting.pop()
        looked += len(after.get(one, ())) * len(after.get(other, ()))
        if looked > _PAIRS:
            raise Unclear("repeats a part that is too large to be looked at")
        for x, y in steps(one, other):
            if x == y:
                return True
            pair = (min(x, y), max(x, y))
            if pair not in seen:
                seen.add(pair)
                waiting.append(pair)
    return False
