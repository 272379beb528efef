"""What one layer remembers from one forward pass to the next, and what can be done with it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Self

import torch

from tfcli.models.errors import ModelError

Change = Callable[[torch.Tensor], torch.Tensor]
ALL = "all"
"""The form of a store that gives every position back as it was."""


class Store(ABC):
    """One layer's memory.

    A forward pass gives new content with `update`; it counts from `commit` on, which `Cache`
    calls for all stores at once when the pass is over. What a pass that failed has left is
    overwritten by the next one.

    Attributes:
        form: what is kept, as a file says it; a store loads its own form, see `accepts`.
        always: positions at the text's beginning that no window hides.
    """

    form: str
    always: int = 0

    @property
    @abstractmethod
    def kept(self) -> int:
        """How many earlier positions the next `update` returns before the new ones."""

    @abstractmethod
    def update(self, *new: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Take new positions, return all that queries may need.

        Args:
            new (Tensor): [b, kv_heads, s, width] each: keys and values, or what stands for both.

        Returns:
            the same of the kept positions and the new ones, [b, kv_heads, kept + s, width]
        """

    @abstractmethod
    def commit(self) -> None:
        """Count what `update` was given. Nothing in here can fail."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything."""

    @abstractmethod
    def tensors(self) -> list[torch.Tensor]:
        """All that it holds."""

    @abstractmethod
    def apply(self, change: Change) -> None:
        """Hold what `change` makes of each tensor in its place. Rows are the first dimension."""

    @abstractmethod
    def crop(self, length: int, past: int) -> None:
        """Forget what came after the first `length` of `past` positions; see `why_not`."""

    @abstractmethod
    def content(self) -> dict[str, torch.Tensor]:
        """What a file keeps of it: name -> tensor. Positions of keys and values are 0, 1, ..."""

    @abstractmethod
    def restore(self, content: Mapping[str, torch.Tensor], length: int) -> None:
        """The inverse of `content`, of a text of `length` positions; `commit` follows."""

    def why_not(self, length: int, past: int) -> str | None:
        """What keeps `crop` from its work; None if nothing does."""
        return None

    def accepts(self, form: str) -> bool:
        """Whether it can be restored from a store of another form."""
        return form in (self.form, ALL)

    def places(self, past: int | torch.Tensor, new: int) -> torch.Tensor | None:
        """Where in the text the keys stand that the next `update` returns, int64 [k].

        None where they are simply the last ones. Below 0 where there is none yet.
        """
        return None

    def select(self, rows: torch.Tensor) -> None:
        """Keep these rows in this order; they may repeat. rows (Tensor): int64 [n]"""
        self.apply(lambda x: x.index_select(0, rows.to(x.device)))

    def reorder(self, rows: torch.Tensor) -> None:
        """The same for as many rows as there are."""
        self.select(rows)

    def copy(self) -> Self:
        """Another store with the same content."""
        other = copy.copy(self)
        other.apply(torch.clone)
        return other

    @property
    def nbytes(self) -> int:
        """Memory that it holds, room for positions to come included."""
        return held(self.tensors())


def held(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes that tensors keep in memory: of what they are views of, and each piece once."""
    pieces = (tensor.untyped_storage() for tensor in tensors)
    return sum({piece.data_ptr(): piece.nbytes() for piece in pieces}.values())


def numbered(lanes: Iterable[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Lanes as `Store.content` names them."""
    return {str(number): lane for number, lane in enumerate(lanes)}


def lanes_of(content: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """The inverse of `numbered`."""
    return [content[str(number)] for number in range(len(content))]


def fits(room: torch.Tensor, new: torch.Tensor) -> bool:
    """Whether a buffer [b, heads, any, width] that is long enough can take new positions."""
    alike = room.shape[:2] == new.shape[:2] and room.shape[3] == new.shape[3]
    return alike and room.dtype == new.dtype and writable(room)


def writable(room: torch.Tensor) -> bool:
    """Whether a tensor can be written to: one of inference mode cannot be outside of it."""
    if torch.compiler.is_compiling():  # which has no answer, and is not asked for a new buffer
        return True
    return torch.is_inference_mode_enabled() or not room.is_inference()


def require_alike(rooms: Iterable[torch.Tensor], new: Iterable[torch.Tensor]) -> None:
    """Refuse positions of another batch or model than those that are kept.

    Args:
        rooms (Tensor): [b, heads, any, width], what is kept.
        new (Tensor): [b, heads, s, width]

    Raises:
        ModelError: says both.
    """
    for room, x in zip(rooms, new, strict=True):
        one, other = ((*t.shape[:2], t.shape[3], t.dtype) for t in (room, x))
        if one != other:
            raise ModelError(
                "the cache holds {} rows, {} heads of {} in {}, ".format(*one)
                + "but {} rows, {} heads of {} in {} came".format(*other),
                fix="reset the cache, or select its rows",
            )


def require_no_gradient(new: Iterable[torch.Tensor], what: str) -> None:
    """Refuse states that a gradient would flow through.

    Raises:
        ModelError: with what keeps them named.
    """
    if torch.is_grad_enabled() and any(x.requires_grad for x in new):
        raise ModelError(
            f"{what} keeps no gradients", fix="run under torch.no_grad(), or use a dynamic cache"
        )
