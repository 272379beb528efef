"""Changing files as an attacker or a bad disk would: bytes anywhere, values of JSON and YAML."""

from __future__ import annotations

import copy
import struct
from random import Random
from typing import Any

NUMBERS = (0, 1, -1, 2, 3, 255, 2**16, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 10**30)
FRACTIONS = (0.0, -0.0, 0.5, -1.5, 1e-320, 1e-30, 1e15, 1e300, 1.7e308)
TEXTS = (
    "",
    " ",
    "a",
    "\0",
    "\x1b[31m",
    "..",
    "../x",
    "/",
    "é\u202e",
    "{}",
    "None",
    "1",
    "a" * 5000,
)
NESTED: Any = "x"
for _ in range(40):
    NESTED = [NESTED]
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"a": {}}, [None], NESTED)


def value(random: Random) -> Any:
    """Any value of JSON, most likely one at an edge."""
    kind = random.randrange(5)
    if kind == 0:
        return random.choice(NUMBERS)
    if kind == 1:
        return random.choice(FRACTIONS)
    if kind == 2:
        return random.choice(TEXTS)
    if kind == 3:
        return copy.deepcopy(random.choice(OTHERS))
    return [value(random) for _ in range(random.randrange(3))]


def near(random: Random, old: Any) -> Any:
    """A value like another: of its type, but not what it was."""
    if isinstance(old, bool) or old is None:
        return value(random)
    if isinstance(old, int):
        return random.choice((old + 1, old - 1, -old, old * 2, old << 20, random.choice(NUMBERS)))
    if isinstance(old, float):
        return random.choice((-old, old * 2, 1 - old, random.choice(FRACTIONS)))
    if isinstance(old, str) and old:
        at = random.randrange(len(old))
        return old[:at] + random.choice(TEXTS) + old[at + random.randrange(2) :]
    return value(random)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to every value in a tree."""
    if isinstance(tree, dict):
        inner = list(tree.items())
    else:
        inner = list(enumerate(tree)) if isinstance(tree, list) else []
    found = []
    for key, one in inner:
        found += [(*path, key), *places(one, (*path, key))]
    return found


def change_tree(random: Random, tree: Any, path: tuple[Any, ...] | None = None) -> Any:
    """A copy in which a value is another, is gone, is there again or has another's name."""
    tree = copy.deepcopy(tree)
    every = places(tree)
    if not every:
        return value(random)
    *outer, key = random.choice(every) if path is None else path
    home = tree
    for part in outer:
        home = home[part]
    kind = random.randrange(8)
    if kind < 3:
        home[key] = value(random)
    elif kind < 5:
        home[key] = near(random, home[key])
    elif kind == 5:
        del home[key]
    elif kind == 6 and isinstance(home, list):
        home.extend([copy.deepcopy(home[key])] * random.choice((1, 3, 50)))
    else:
        other, taken = random.choice(every), tree
        for part in other:
            taken = taken[part]
        home[key] = copy.deepcopy(taken)
    return tree


def change_bytes(random: Random, data: bytes) -> bytes:
    """A copy with one to four changes; most are near the beginning, where the headers are."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = _place(random, len(found))
        kind = random.randrange(7)
        if kind == 0 and found:
            found[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            found[at : at + 1] = bytes([random.randrange(256)])
        elif kind == 2:
            number = random.choice(NUMBERS) % 2**64
            size, form = random.choice(((8, "<Q"), (4, "<I"), (8, ">Q"), (2, "<H")))
            found[at : at + size] = struct.pack(form, number % (1 << 8 * size))
        elif kind == 3:
            del found[at : at + random.choice((1, 4, 100))]
        elif kind == 4:
            found[at:at] = bytes(random.randrange(256) for _ in range(random.choice((1, 8))))
        elif kind == 5:
            start = _place(random, len(found))
            found[at:at] = found[start : start + random.choice((4, 16, 200))]
        else:
            del found[random.randrange(len(found) + 1) :]
    return bytes(found)


def _place(random: Random, length: int) -> int:
    near_start = min(length, random.choice((64, 1024, length)))
    return random.randrange(near_start) if near_start else 0
