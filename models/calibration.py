"""How a family tells quantization methods which linears it has and in what order they run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

Group = tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """Linears of a block that are calibrated at the same time: none waits for another's outputs.

    Args:
        groups: those in a group share one input.
        idles: a forward pass may leave some of the groups out, as it does an expert that no token
            goes to.
    """

    groups: tuple[Group, ...]
    idles: bool = False


@dataclass(frozen=True)
class CalibrationWalk:
    """The linears of a model, block by block.

    Args:
        blocks: dotted path of the block list, such as `model.layers`.
        groups: within a block, the linears that share one input, in execution order. A `*` in a
            name stands for each member of a module list, such as the experts of a mixture. They
            run side by side, each on its own inputs or on none, and none on what another gives.
            Neighbouring groups with the same path before the `*` are those of one list.
        varies: blocks differ, and may lack linears that are named here.
        chained: each block runs once in a forward pass, and gets what the one before it gave. Where
            not, a method can use the names, but cannot go from block to block.
    """

    blocks: str
    groups: tuple[Group, ...]
    varies: bool = False
    chained: bool = True

    def stages(self, block: nn.Module) -> Iterator[Stage]:
        """How to calibrate a block: one stage a group, which is that of all members of its list.

        Raises:
            AttributeError: the block lacks a linear, and the walk does not say that it varies.
        """
        for group in self.groups:
            members = (self._of(block, group, member) for member in self._members(block, group))
            stage = tuple(names for names in members if names)
            if stage:
                yield Stage(stage, idles=bool(_list_of(group)))

    def linears(self, block: nn.Module) -> Group:
        """Every linear of a block, in execution order; errors as in `stages`."""
        found: list[str] = []
        for _, neighbours in groupby(self.groups, key=_list_of):
            run = list(neighbours)
            for member in self._members(block, run[0]):
                for group in run:
                    found += self._of(block, group, member)
        return tuple(found)

    def names(self, linear: str) -> bool:
        """Whether a group names a linear, which a block may lack all the same if `varies`."""
        patterns = (re.escape(name) for group in self.groups for name in group)
        return any(re.fullmatch(p.replace(r"\*", "[^.]+"), linear) for p in patterns)

    def _members(self, block: nn.Module, group: Group) -> Group:
        """The names of the members of a group's list; one, which is empty, where it has no `*`."""
        path = _list_of(group)
        if not path:
            return ("",)
        if self.varies and not _has(block, path):
            return ()
        return tuple(name for name, _ in block.get_submodule(path).named_children())

    def _of(self, block: nn.Module, group: Group, member: str) -> Group:
        """The linears of a group for one member of its list."""
        names = tuple(name.replace("*", member) for name in group)
        if self.varies:
            return tuple(name for name in names if _has(block, name))
        for name in names:
            block.get_submodule(name)
        return names


def _list_of(group: Group) -> str:
    """The path before the `*`; empty where there is none."""
    path, star, _ = group[0].partition(".*")
    return path if star else ""


def _has(block: nn.Module, path: str) -> bool:
    try:
        block.get_submodule(path)
    except AttributeError:
        return False
    return True
