"""What one pass over a block leaves for the next, so that no product is made twice.

A block is passed over once for each group of linears that share inputs, as a later group gets what
the quantized weights of those before it give, of all batches: nothing of it is known when the pass
before it runs. But the inputs of a linear, once they were shown to the method, do not change any
more. Many modules end in a linear, as attention and mlps do, and give what it gives: the next pass
need not go into them, but applies the linear, quantized meanwhile, to inputs that are in a file.
And the pass after that finds there what the module gave.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tfcli.errors import WorkError


class Kept:
    """One tensor a batch, in a file that has no name and is gone with the object.

    Args:
        folder: where it is.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives with the object
        self._places: list[tuple[int, torch.Size, torch.dtype]] = []

    def __len__(self) -> int:
        return len(self._places)

    def append(self, batch: Tensor) -> None:
        """Keep that of the next batch, in its own type."""
        self._places.append((self._file.seek(0, 2), batch.shape, batch.dtype))
        values = batch.detach().cpu().contiguous().view(-1).view(torch.uint8)
        self._file.write(values.numpy().data)

    def __getitem__(self, number: int) -> Tensor:
        start, shape, dtype = self._places[number]
        found = torch.empty(shape, dtype=dtype)
        self._file.seek(start)
        read = self._file.readinto(found.view(-1).view(torch.uint8).numpy().data)
        assert read == found.nbytes, "what was written is there"
        return found


@dataclass
class Ending:
    """A module that gives what a linear at its end gives.

    Args:
        module: with the linear in it.
        linear: whose weight is final from the next pass on.
        inputs: of the linear.
        outputs: of the module; complete after the next pass.
    """

    module: nn.Module
    linear: nn.Module
    inputs: Kept
    outputs: Kept

    def of(self, number: int) -> Tensor:
        """What the module gives for a batch."""
        if number < len(self.outputs):
            return self.outputs[number].to(_device_of(self.linear))
        given: Tensor = self.linear(self.inputs[number].to(_device_of(self.linear)))
        if number == len(self.outputs):
            self.outputs.append(given)
        return given


@dataclass
class Shortcuts:
    """Those of one block for one stream of batches.

    Args:
        block: which.
        folder: for files.
    """

    block: nn.Module
    folder: Path
    _endings: dict[nn.Module, Ending] = field(default_factory=dict)

    def begin(self, module: nn.Module, linear: nn.Module) -> Kept:
        """Where to keep the inputs of a linear that a module ends in; see `ends_in`."""
        for inner in module.modules():  # the file of a module within it is no longer needed
            self._endings.pop(inner, None)
        made = Ending(module, linear, Kept(self.folder), Kept(self.folder))
        self._endings[module] = made
        return made.inputs

    @contextmanager
    def taken(self, number: int) -> Iterator[None]:
        """Within this context the block runs over a batch by what is known of it.

        Only the first call of a module is met by what is kept of it: no forward pass was seen to
        make a second one, but it would be computed.
        """
        with ExitStack() as stack:
            for module, ending in self._endings.items():
                if len(ending.inputs) > number:
                    stack.enter_context(_giving(module, partial(ending.of, number)))
            yield


@contextmanager
def _giving(module: nn.Module, give: Callable[[], Tensor]) -> Iterator[None]:
    """Within this context the first call of a module has this result."""
    forward, given = module.forward, list[bool]()

    def once(*args: Any, **kwargs: Any) -> Any:
        if given:
            return forward(*args, **kwargs)
        given.append(True)
        return give()

    module.forward = once
    try:
        yield
    finally:
        del module.forward


def ends_in(
    block: nn.Module, linear: nn.Module, run: Callable[[], object]
) -> tuple[Tensor, nn.Module | None]:
    """What a linear of a block gets in a run, and the outermost module inside the block that gives
    what the linear does: the same memory, with the same numbers in it.

    Args:
        block: it is left when that is known.
        linear: of the block; called once.
        run: runs the block.
    """
    around = [module for module in block.modules() if linear in module.modules()]
    around.sort(key=lambda module: sum(1 for _ in module.modules()))
    around = [module for module in around if module not in (linear, block)]
    found: list[Tensor] = []
    given: list[Tensor] = []
    same: list[nn.Module] = []

    def take(_: nn.Module, args: tuple[Any, ...]) -> None:
        found.append(args[0])
        if not around:
            raise Left

    def begin(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        given.extend((output, output.clone()))

    def compare(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not given:
            return  # it ran before the linear did
        if not _is_same(output, *given):
            raise Left
        same.append(module)
        if module is around[-1]:
            raise Left

    handles = [linear.register_forward_pre_hook(take), linear.register_forward_hook(begin)]
    handles += [module.register_forward_hook(compare) for module in around]
    try:
        run()
    except Left:
        pass
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise WorkError("the forward pass never reached a linear whose inputs were asked for")
    return found[0], same[-1] if same else None


class Left(Exception):  # noqa: N818 - ends a forward pass early, not an error
    """What was to be seen of a forward pass has been seen."""


def _is_same(output: Any, given: Tensor, copy: Tensor) -> bool:
    """Whether an output is the tensor that was given, as the copy says it was then."""
    return (
        isinstance(output, Tensor)
        and output.data_ptr() == given.data_ptr()
        and output.shape == copy.shape
        and torch.equal(output, copy)
    )


def _device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
