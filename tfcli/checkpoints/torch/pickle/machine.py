"""A machine for pickles that builds data and never runs anything.

A pickle is a program: most of its opcodes build numbers, texts and containers, and a few ask for a
name and call it. Here a name is looked up in a table of our own (`pickle_globals`); nothing is
ever imported. What the table gives is a function of ours, an inert `Record`, or an error.

The machine is bounded. Every opcode has a price, about the bytes that it makes Python allocate,
and a pickle that spends its budget is refused; so a small file can take neither much memory nor
much time. Objects nest in the pickle's own stack, never in Python's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfcli.checkpoints.io.growing import Growing
from tfcli.checkpoints.torch.pickle.opcodes import HANDLERS, PRICES, STOP, opcode_name
from tfcli.checkpoints.torch.pickle.values import Global, PickleRefusedError

# What a pickle may cost, about in bytes. A tensor costs 4,000, so that a file of any size may hold
# 30,000. A larger file may hold more, at a small part of its own size.
BUDGET = 128_000_000
BUDGET_SHARE = 64


class Machine:
    """Reads one pickle out of a file.

    Args:
        source: the file, or a part of it.
        find: gives the `Global` for a name, or raises PickleRefusedError.
        persistent: gives the object for a persistent id, or raises PickleRefusedError.
        start: where the pickle begins.
        budget: what the opcodes may cost; None for what the size of `source` allows.

    Attributes:
        data: what of `source` was read so far.
        end: where the pickle must have ended.
    """

    def __init__(
        self,
        source: Growing,
        *,
        find: Callable[[str], Global],
        persistent: Callable[[Any], Any],
        start: int = 0,
        budget: int | None = None,
    ) -> None:
        self.data, self.find, self.persistent = source.held, find, persistent
        self.need = source.need
        self.at, self.end = start, source.size
        self.left = BUDGET + source.size // BUDGET_SHARE if budget is None else budget
        self.stack: list[Any] = []
        self.open: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The pickle's object; `at` is then the byte after the pickle.

        Raises:
            PickleRefusedError: it is damaged, spends its budget, or asks for more than data.
        """
        data, held, end = self.data, len(self.data), self.end
        while True:
            at = self.at
            try:
                if at >= held:
                    if at >= end:
                        raise PickleRefusedError("the pickle is cut off")
                    self.need(at + 1)
                    held = len(data)
                code = data[at]
                self.at = at + 1
                if code == STOP:
                    return self._result()
                self.left -= PRICES[code]
                if self.left < 0:
                    raise PickleRefusedError("the pickle builds more objects than weights need")
                HANDLERS[code](self)
            except IndexError:
                raise PickleRefusedError(
                    f"byte {at}: {opcode_name(code)} finds too little to take"
                ) from None
            except PickleRefusedError as problem:
                problem.what = f"byte {at}: {problem.what}"
                raise

    def _result(self) -> Any:
        if self.open or len(self.stack) != 1:
            raise PickleRefusedError(
                f"the pickle ends with {len(self.stack)} objects, not with one"
            )
        return self.stack.pop()

    def take(self, count: int) -> bytes:
        """The next `count` bytes; the price is theirs."""
        start = self.at
        if count > self.end - start:
            raise PickleRefusedError(
                f"{count} bytes are announced, {self.end - start} are left: the pickle is cut off"
            )
        self.spend(count)
        self.at = start + count
        self.need(self.at)
        return bytes(memoryview(self.data)[start : self.at])  # a slice would be a copy more

    def spend(self, price: int) -> None:
        """Take from the budget before something is allocated."""
        self.left -= price
        if self.left < 0:
            raise PickleRefusedError("the pickle builds more objects than weights need")

    def close(self) -> list[Any]:
        """What was pushed since the last MARK, which goes."""
        if not self.open:
            raise PickleRefusedError("a container is closed that was not opened")
        items, self.stack = self.stack, self.open.pop()
        return items
