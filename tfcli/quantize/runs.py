"""How blocks are run for calibration, and what their linears get meanwhile."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor, nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.context import Context, Memory
from tfcli.models.model import Model
from tfcli.models.processor import has_products
from tfcli.quantize.plan import Unit
from tfcli.quantize.shortcuts import Shortcuts
from tfcli.quantize.states import States
from tfcli.quantize.watch import UpTo, Watch, all_inputs_of, stopping_at

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


class EncoderInFile(Sequence[BlockInputs]):
    """What the blocks of a decoder are called with for each batch. The encoder's states, which all
    of them look at and which are as large as the text is long, are in a file.

    Args:
        inputs: of each batch; they hold no states from then on.
        folder: where the file is made.
        device: where blocks run.
    """

    def __init__(
        self, inputs: Sequence[BlockInputs], folder: Path, device: torch.device | str
    ) -> None:
        memories = [_memory_of(each) for each in inputs]
        self._states = States(folder, [_states_in(memory) for memory in memories])
        self._inputs = [_with_memory(each, None) for each in inputs]
        self._device = device

    def __len__(self) -> int:
        return len(self._inputs)

    @overload
    def __getitem__(self, number: int) -> BlockInputs: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[BlockInputs]: ...
    def __getitem__(self, number: int | slice) -> BlockInputs | Sequence[BlockInputs]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        if number >= len(self):
            raise IndexError(number)
        return _with_memory(self._inputs[number], self._states[number].to(self._device))


def has_encoder_states(inputs: BlockInputs) -> bool:
    """Whether a block is shown what an encoder gave."""
    memory = _memory_of(inputs)
    return memory is not None and memory.states is not None


def _memory_of(inputs: BlockInputs) -> Memory | None:
    given = (*inputs.args, *inputs.kwargs.values())
    return next((each.memory for each in given if isinstance(each, Context)), None)


def _states_in(memory: Memory | None) -> Tensor:
    assert memory is not None and memory.states is not None, "see has_encoder_states"
    return memory.states


def _with_memory(inputs: BlockInputs, states: Tensor | None) -> BlockInputs:
    """The same with other states of the encoder; what was made of shapes alone stays shared."""

    def other(given: Any) -> Any:
        if not isinstance(given, Context) or given.memory is None:
            return given
        return replace(given, memory=replace(given.memory, states=states))

    kwargs = {name: other(given) for name, given in inputs.kwargs.items()}
    return BlockInputs(tuple(other(given) for given in inputs.args), kwargs)


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
    inputs: Sequence[BlockInputs]
    states: States
    device: torch.device | str
    exact: bool = False

    def hidden(self, number: int) -> Tensor:
        """What the next block gets for a batch."""
        return self.states[number].to(self.device)

    def advance(self, block: nn.Module, known: Shortcuts | None = None) -> None:
        """Replace the states by what a block makes of them.

        Args:
            block: which.
            known: what earlier passes over it have found.
        """
        for number, inputs in enumerate(self.inputs):
            with (
                products(self.device, exact=self.exact),
                nullcontext() if known is None else known.taken(number),
            ):
                self.states[number] = states_of(inputs.run(block, self.hidden(number)))

    def fork(self, block: nn.Module, folder: Path) -> Stream:
        """Another stream, which has what a block makes of the states of this one."""
        states = self.states.copy(folder)
        forked = replace(self, states=states)
        forked.advance(block)
        return forked


class Visitor(ABC):
    """Looks at each block of all chains when it is done, whether in this process or in an earlier
    one.

    Attributes:
        windows: that it wants to be run up to the first block.
    """

    windows: Sequence[Inputs]

    @abstractmethod
    def begin(self, chain: CalibrationWalk, start: Start) -> None:
        """Get what the windows give up to the first block of a chain.

        Args:
            chain: which.
            start: gives that, from what the chains before it gave at their ends.
        """

    @abstractmethod
    def passed(self, unit: Unit, block: nn.Module, as_it_was: Dense) -> None:
        """See a block with the quantized weights in it, before it is freed.

        Args:
            unit: which.
            block: the module.
            as_it_was: within this context it has its weights of before.
        """


Start = Callable[[Mapping[str, States]], Stream]
"""From path of a chain that has ended -> its last states, to what another chain begins with."""
Dense = Callable[[], AbstractContextManager[None]]
"""Within this context a block has its dense weights."""
Seen = list[tuple[Tensor | None, Tensor | None]]
"""For each group: what its linears get, and what the dense model's get."""


class BlockAlone:
    """A block of a chain, to be run by itself: once for each group of linears, and once more when
    all of them are quantized. What a pass has found shortens those after it (`shortcuts.py`).

    Args:
        block: the module.
        streams: of what comes to it; that of the quantized model first.
        as_it_was: within this context it has its dense weights.
        folder: for files.
    """

    def __init__(
        self, block: nn.Module, streams: Sequence[Stream], as_it_was: Dense, folder: Path
    ) -> None:
        self.block, self.streams = block, streams
        self._as_it_was = as_it_was
        self._known = [Shortcuts(block, folder) for _ in streams]

    def observe(self, groups: Sequence[Sequence[nn.Module]], *, idles: bool) -> Iterator[Seen]:
        """What linears get, batch after batch, in the type in which they multiply it.

        Where they idle, the dense model's are not looked at: their tokens may be others there.
        """
        own, *others = zip(self.streams, self._known, strict=True)
        watched = own, *(() if idles else others)
        linears = [group[0] for group in groups]
        see: Watch = partial(all_inputs_of, linears)
        if not idles:
            alone = len(groups) == 1 == len(groups[0])
            see = UpTo(linears[0], self.block, self._known if alone else ())
        for number in range(len(own[0].states)):
            found = []
            for at, (stream, known) in enumerate(watched):
                run = partial(stream.inputs[number].run, self.block, stream.hidden(number))
                quick = products(stream.device, exact=stream.exact)
                with self._weights(stream), quick, known.taken(number):
                    found.append(see(run, at))
            dense = found[1] if len(found) > 1 else [None] * len(linears)
            yield list(zip(found[0], dense, strict=True))

    def advance(self) -> None:
        """Go on to what the next block gets; this is the last pass over the block."""
        for stream, known in zip(self.streams, self._known, strict=True):
            with self._weights(stream):
                stream.advance(self.block, known)

    def _weights(self, stream: Stream) -> AbstractContextManager[None]:
        return self._as_it_was() if stream.dense else nullcontext()


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

    with stopping_at(block, take):
        model(**batch)
    return found[0]


def states_of(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]
