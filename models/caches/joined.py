"""The stores of several texts beside each other, for one forward pass of all of them.

Each text keeps a store of its own, so that it may join others and leave them at any step. What
a layer gets ends in one column: shorter texts have zeros before them, which the pass's attention
mask hides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from tfcli.models.caches.paged import PagedStore, Places
from tfcli.models.caches.recurrent import ShiftStore, State, StateStore
from tfcli.models.caches.stores import Change, Store

_ONLY_PASSES = "stores that are joined serve forward passes; change the texts' own"


class _Joined(Store):
    """What is the same for all kinds: nothing but passes goes through it."""

    parts: Sequence[Store]

    def commit(self) -> None:
        for part in self.parts:
            part.commit()

    def tensors(self) -> list[torch.Tensor]:
        return [tensor for part in self.parts for tensor in part.tensors()]

    def reset(self) -> None:
        raise TypeError(_ONLY_PASSES)

    def apply(self, change: Change) -> None:
        raise TypeError(_ONLY_PASSES)

    def crop(self, length: int, past: int) -> None:
        raise TypeError(_ONLY_PASSES)

    def content(self) -> dict[str, torch.Tensor]:
        raise TypeError(_ONLY_PASSES)

    def restore(self, content: Mapping[str, torch.Tensor], length: int) -> None:
        raise TypeError(_ONLY_PASSES)


class JoinedStore(_Joined):
    """Keys and values of texts of different lengths.

    Args:
        parts: the texts' stores, of one row each.
    """

    def __init__(self, parts: Sequence[Store]) -> None:
        self.parts = parts
        self.form = parts[0].form

    @property
    def kept(self) -> int:
        return max(part.kept for part in self.parts)

    def update(self, *new: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = [
            part.update(*(x[row : row + 1] for x in new)) for row, part in enumerate(self.parts)
        ]
        return tuple(_side_by_side(lane) for lane in zip(*given, strict=True))

    def places_of_rows(
        self, like: torch.Tensor, hidden: Sequence[int] | None = None
    ) -> list[Places] | None:
        """See `PagedStore`; None where a text is kept otherwise. What is hidden of a row is what
        stands before a shorter text in a pass; its own store has nothing of it."""
        found: list[Places] = []
        for part in self.parts:
            places = part.places_of_rows(like[:1]) if isinstance(part, PagedStore) else None
            if places is None:
                return None
            found += places
        return found


class JoinedStates(_Joined, StateStore):
    """The states of texts, all of which have read something.

    Args:
        parts: the texts' stores, of one row each.
    """

    def __init__(self, parts: Sequence[StateStore]) -> None:
        super().__init__()
        self.parts: Sequence[StateStore] = parts
        self.state = self._joined([part.state for part in parts])

    def carry_on(self, **state: torch.Tensor) -> None:
        for row, part in enumerate(self.parts):
            part.carry_on(**{name: x[row : row + 1].clone() for name, x in state.items()})

    @staticmethod
    def _joined(states: Sequence[State]) -> State:
        """Rows of each tensor; zeros of a text that has none, as one without media has no shift."""
        found: State = {}
        for name in dict.fromkeys(name for state in states for name in state):
            like = next(state[name] for state in states if name in state)
            rows = [state.get(name, torch.zeros_like(like)) for state in states]
            found[name] = torch.cat(rows)
        return found


class JoinedShifts(JoinedStates, ShiftStore):
    """The same of how far positions are from the number of tokens."""


def joined(parts: Sequence[Store]) -> Store:
    """The store that serves a pass of several texts, from their own of one layer."""
    states = [part for part in parts if isinstance(part, StateStore)]
    if not states:
        return JoinedStore(parts)
    kind = JoinedShifts if isinstance(states[0], ShiftStore) else JoinedStates
    return kind(states)


def _side_by_side(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """[1, heads, k, width] of different k -> [b, heads, longest, width], ending in one column."""
    longest = max(row.shape[2] for row in rows)
    if all(row.shape[2] == longest for row in rows):
        return torch.cat(list(rows))
    _, heads, _, width = rows[0].shape
    found = rows[0].new_zeros(len(rows), heads, longest, width)
    for each, row in zip(found, rows, strict=True):
        each[:, longest - row.shape[2] :] = row[0]
    return found
