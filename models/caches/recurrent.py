"""The state of a recurrent layer, and the encoder's keys and values: memory without positions."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tfcli.models.caches.stores import Change, Store, require_no_gradient, writable

State = dict[str, torch.Tensor]


class StateStore(Store):
    """Named tensors that a recurrent layer or a convolution carries on, [b, ...] each.

    Args:
        fixed: a new state is written over the old one, so that a compiled step finds it where it
            was. There is no gradient then.
    """

    form = "a state"

    def __init__(self, fixed: bool = False) -> None:
        self.fixed = fixed
        self.state: State = {}
        self._next: State = {}
        self._rooms: State = {}  # where fixed states lie, after a reset too

    @property
    def kept(self) -> int:
        return 0

    def update(self, *new: torch.Tensor) -> tuple[torch.Tensor, ...]:
        raise TypeError("a recurrent state takes named tensors; see `carry_on`")

    def carry_on(self, **state: torch.Tensor) -> None:
        """Take the state after the new positions; it counts from `commit` on."""
        if self.fixed:
            require_no_gradient(state.values(), "a static cache")
        elif not torch.is_grad_enabled():
            # A view, such as the end of a long input, would keep all of that in memory.
            state = {name: x.clone() if _is_part(x) else x for name, x in state.items()}
        self._next = state

    def commit(self) -> None:
        if not self._next:
            return
        self.state = self._placed(self._next) if self.fixed else self._next
        self._next = {}

    def reset(self) -> None:
        self.state, self._next = {}, {}

    def tensors(self) -> list[torch.Tensor]:
        return list((self.state or self._rooms).values())

    def apply(self, change: Change) -> None:
        self.state = {name: change(tensor) for name, tensor in self.state.items()}
        self._next, self._rooms = {}, dict(self.state) if self.fixed else {}

    def reorder(self, rows: torch.Tensor) -> None:
        if not self.fixed:
            self.select(rows)
            return
        for tensor in self.state.values():
            tensor.copy_(tensor.index_select(0, rows.to(tensor.device)))

    def why_not(self, length: int, past: int) -> str | None:
        if length in (0, past):
            return None
        return "a recurrent layer has no state of an earlier position"

    def crop(self, length: int, past: int) -> None:
        if length == 0:
            self.reset()

    def accepts(self, form: str) -> bool:
        return form == self.form

    def content(self) -> dict[str, torch.Tensor]:
        return dict(self.state)

    def restore(self, content: Mapping[str, torch.Tensor], length: int) -> None:
        self.reset()
        self._next = dict(content)

    def _placed(self, state: State) -> State:
        """The values of a state where the last one lay, as far as it is of the same kind."""
        for name, tensor in state.items():
            room = self._rooms.get(name)
            if room is None or not _takes(room, tensor):
                self._rooms = {**self._rooms, name: tensor.clone()}
            else:
                room.copy_(tensor)
        return {name: self._rooms[name] for name in state}


def _takes(room: torch.Tensor, state: torch.Tensor) -> bool:
    """Whether a state can be written over another one."""
    return room.shape == state.shape and room.dtype == state.dtype and writable(room)


def _is_part(x: torch.Tensor) -> bool:
    return x.untyped_storage().nbytes() > x.nbytes


class ShiftStore(StateStore):
    """How far the positions of a text's tokens are from their number, since its media.

    Tensors: `shift`, int64 [b, 1]; `since`, int64 [b, 1], how many positions there were then.
    """

    form = "a shift of positions"

    def why_not(self, length: int, past: int) -> str | None:
        if not self.state or length == 0 or length >= int(self.state["since"].max()):
            return None
        return "the positions within what came with media are not kept"


class SourceStore(Store):
    """Keys and values that a layer made of the encoder's states: made once, and never longer."""

    form = "the source"

    def __init__(self) -> None:
        self.pair: tuple[torch.Tensor, ...] = ()
        self._next: tuple[torch.Tensor, ...] = ()

    @property
    def kept(self) -> int:
        return 0

    def update(self, *new: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self._next = new
        return new

    def commit(self) -> None:
        if self._next:
            self.pair, self._next = self._next, ()

    def reset(self) -> None:
        self.pair, self._next = (), ()

    def tensors(self) -> list[torch.Tensor]:
        return list(self.pair)

    def apply(self, change: Change) -> None:
        self.pair, self._next = tuple(map(change, self.pair)), ()

    def crop(self, length: int, past: int) -> None:
        """Nothing: the source stays whole."""

    def accepts(self, form: str) -> bool:
        return form == self.form

    def content(self) -> dict[str, torch.Tensor]:
        return {str(number): tensor for number, tensor in enumerate(self.pair)}

    def restore(self, content: Mapping[str, torch.Tensor], length: int) -> None:
        self.reset()
        self._next = tuple(content[str(number)] for number in range(len(content)))
