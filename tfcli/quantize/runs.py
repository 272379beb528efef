"""How blocks are run for calibration, and what their linears get meanwhile."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tfcli.errors import WorkError
from tfcli.models.model import Model
from tfcli.models.processor import has_products
from tfcli.quantize.plan import Unit
from tfcli.quantize.states import States

Inputs = dict[str, Tensor]
"""What a model is called with, for one batch of windows."""


@dataclass
class BlockInputs:
    """What a block is called with beside the hidden states; it stays the same."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self, block: nn.Module, hidden: Tensor) -> Any:
        """The block's output."""
        return block(hidden, *self.args, **self.kwargs)


def products(device: torch.device | str, *, exact: bool) -> AbstractContextManager[object]:
    """Within this context matrices are multiplied in bfloat16 where the processor has instructions
    for that, in half the time; weights and hidden states stay in fp32.

    What calibration sums up of inputs changes by less than what another text would change.

    Args:
        device: where the blocks run; on others than CPUs nothing changes.
        exact: change nothing.
    """
    quick = not exact and torch.device(device).type == "cpu" and has_products(torch.bfloat16)
    return torch.autocast("cpu", torch.bfloat16) if quick else nullcontext()


@dataclass
class Stream:
    """One of two models that run side by side: the dense one, or the one that is quantized.

    Args:
        dense: whether it is the dense one.
        inputs: of each batch.
        states: of each batch.
        device: where blocks run.
        exact: see `products`.
    """

    dense: bool
    inputs: list[BlockInputs]
    states: States
    device: torch.device | str
    exact: bool = False

    def hidden(self, number: int) -> Tensor:
        """What the next block gets for a batch."""
        return self.states[number].to(self.device)

    def advance(self, block: nn.Module) -> None:
        """Replace the states by what a block makes of them."""
        with products(self.device, exact=self.exact):
            for number, inputs in enumerate(self.inputs):
                self.states[number] = states_of(inputs.run(block, self.hidden(number)))

    def fork(self, block: nn.Module, folder: Path) -> Stream:
        """Another stream, which has what a block makes of the states of this one."""
        states = self.states.copy(folder)
        forked = replace(self, states=states)
        forked.advance(block)
        return forked


class Visitor(ABC):
    """Looks at each block of a chain when it is done, whether in this process or in an earlier one.

    Attributes:
        windows: that it wants to be run up to the first block.
    """

    windows: Sequence[Inputs]

    @abstractmethod
    def begin(self, stream: Stream) -> None:
        """Get what the windows give up to the first block."""

    @abstractmethod
    def passed(self, unit: Unit, block: nn.Module, as_it_was: Dense) -> None:
        """See a block with the quantized weights in it, before it is freed.

        Args:
            unit: which.
            block: the module.
            as_it_was: within this context it has its weights of before.
        """


Dense = Callable[[], AbstractContextManager[None]]
"""Within this context a block has its dense weights."""
Seen = list[tuple[Tensor | None, Tensor | None]]
"""For each group: what its linears get, and what the dense model's get."""


@dataclass
class BlockAlone:
    """A block of a chain, to be run by itself."""

    block: nn.Module
    streams: Sequence[Stream]
    as_it_was: Callable[[], AbstractContextManager[None]]

    def observe(self, groups: Sequence[Sequence[nn.Module]], *, idles: bool) -> Iterator[Seen]:
        """What linears get, batch after batch."""
        firsts = [group[0] for group in groups]
        see = _all_inputs_of if idles else _inputs_of
        own, *others = self.streams
        for number in range(len(own.states)):
            with products(own.device, exact=own.exact):
                found = see(firsts, self.block, own.inputs[number], own.hidden(number))
                dense: list[Tensor | None] = [None] * len(firsts)
                for other in () if idles else others:
                    with self.as_it_was():
                        dense = see(firsts, self.block, other.inputs[number], other.hidden(number))
            yield list(zip(found, dense, strict=True))


@dataclass
class WholeModel:
    """A model that is run as a whole."""

    model: Model
    batches: Sequence[Inputs]

    def observe(self, groups: Sequence[Sequence[nn.Module]], *, idles: bool) -> Iterator[Seen]:
        """What linears get, batch after batch, as rows: all that a group gets in a forward pass,
        which runs it once for each layer that it serves."""
        linears = [linear for group in groups for linear in group]
        for batch in self.batches:
            found: dict[nn.Module, list[Tensor]] = {linear: [] for linear in linears}
            handles = [
                linear.register_forward_pre_hook(partial(_keep, found)) for linear in linears
            ]
            try:
                self.model(**batch)
            finally:
                for handle in handles:
                    handle.remove()
            yield [(_shared([found[linear] for linear in group]), None) for group in groups]


@dataclass
class AtTheEnd:
    """What a head gets where the chain of blocks has ended.

    Args:
        inputs: gives for each batch what the head gets, and what the dense model's gets if wanted.
    """

    inputs: Callable[[], Iterator[list[Tensor]]]

    def observe(self, groups: Sequence[Sequence[nn.Module]], *, idles: bool) -> Iterator[Seen]:
        """What the head gets, batch after batch."""
        for own, *dense in self.inputs():
            yield [(own, dense[0] if dense else None)]


Runs = BlockAlone | WholeModel | AtTheEnd


def _keep(found: dict[nn.Module, list[Tensor]], linear: nn.Module, args: tuple[Any, ...]) -> None:
    found[linear].append(args[0])


def _shared(given: list[list[Tensor]]) -> Tensor | None:
    """The inputs that all linears of a group got, as rows; not what some read besides."""
    first, *others = given
    every = [x for x in first if all(any(x is y for y in other) for other in others)]
    return torch.cat([x.reshape(-1, x.shape[-1]) for x in every]) if every else None


class Replay(nn.Module):
    """Stands for a block of a chain that has ended.

    Args:
        states: what the chain gave at its end; None to give what comes.
    """

    def __init__(self, states: States | None) -> None:
        super().__init__()
        self.states, self.batch = states, 0

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return x if self.states is None else self.states[self.batch].to(x.device)


class _Stop(Exception):  # noqa: N818 - ends a forward pass early, not an error
    pass


@contextmanager
def _stopping_at(
    module: nn.Module, take: Callable[[tuple[Any, ...], dict[str, Any]], None]
) -> Iterator[None]:
    """Call `take` with the arguments of `module`'s next call, and end the forward pass there."""

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        take(args, kwargs)
        raise _Stop

    handle = module.register_forward_pre_hook(hook, with_kwargs=True, prepend=True)
    try:
        yield
    except _Stop:
        return
    finally:
        handle.remove()
    raise WorkError("the forward pass never reached a module that it was to stop at")


def capture(model: nn.Module, block: nn.Module, batch: Inputs) -> tuple[Tensor, BlockInputs]:
    """What the first block of a chain gets for one batch."""
    found: list[tuple[Tensor, BlockInputs]] = []

    def take(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if args:
            found.append((args[0], BlockInputs(args[1:], kwargs)))
        else:
            name, hidden = next(iter(kwargs.items()))
            others = {key: value for key, value in kwargs.items() if key != name}
            found.append((hidden, BlockInputs((), others)))

    with _stopping_at(block, take):
        model(**batch)
    return found[0]


def _inputs_of(
    linears: Sequence[nn.Module], block: nn.Module, inputs: BlockInputs, hidden: Tensor
) -> list[Tensor | None]:
    """What the one linear of a stage gets; the block runs up to it."""
    found: list[Tensor | None] = []
    with _stopping_at(linears[0], lambda args, _: found.append(args[0])):
        inputs.run(block, hidden)
    return found


def _all_inputs_of(
    linears: Sequence[nn.Module], block: nn.Module, inputs: BlockInputs, hidden: Tensor
) -> list[Tensor | None]:
    """What each linear gets in one run of the block; None for one that did not run."""
    found: dict[nn.Module, Tensor] = {}

    def keep(linear: nn.Module, args: tuple[Any, ...]) -> None:
        found[linear] = args[0]

    handles = [linear.register_forward_pre_hook(keep) for linear in linears]
    try:
        inputs.run(block, hidden)
    finally:
        for handle in handles:
            handle.remove()
    return [found.get(linear) for linear in linears]


def states_of(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]
