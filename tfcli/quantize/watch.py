"""What linears get while a block runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tfcli.errors import WorkError
from tfcli.quantize.shortcuts import Kept, Left, Shortcuts, ends_in

Watch = Callable[[Callable[[], object], int], list[Tensor | None]]
"""From a run of a block, and the number of its stream, what each linear gets."""


class UpTo:
    """What one linear gets; the block runs up to it, and for the first batch a little further, to
    learn which module ends in the linear.

    Args:
        linear: which.
        block: with the linear in it.
        known: of each stream, where the inputs are kept if there is such a module.
    """

    def __init__(self, linear: nn.Module, block: nn.Module, known: Sequence[Shortcuts]) -> None:
        self.linear, self.block, self.known = linear, block, known
        self._files: list[Kept] = []
        self._looked = not known

    def __call__(self, run: Callable[[], object], stream: int) -> list[Tensor | None]:
        """See `Watch`."""
        if self._looked:
            found: list[Tensor] = []
            with stopping_at(self.linear, lambda args, _: found.append(args[0])):
                run()
            inputs = found[0]
        else:
            self._looked = True
            inputs, module = ends_in(self.block, self.linear, run)
            if module is not None:
                self._files = [known.begin(module, self.linear) for known in self.known]
        inputs = as_multiplied(inputs)
        if self._files:
            self._files[stream].append(inputs)
        return [inputs]


def all_inputs_of(
    linears: Sequence[nn.Module], run: Callable[[], object], stream: int
) -> list[Tensor | None]:
    """What each linear gets in one run of the block; None for one that did not run."""
    found: dict[nn.Module, Tensor] = {}

    def keep(linear: nn.Module, args: tuple[Any, ...]) -> None:
        found[linear] = args[0]

    handles = [linear.register_forward_pre_hook(keep) for linear in linears]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    inputs = (found.get(linear) for linear in linears)
    return [None if x is None else as_multiplied(x) for x in inputs]


def as_multiplied(x: Tensor) -> Tensor:
    """An input in the type that a linear would take it in; see `products`."""
    quick = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return x.to(torch.get_autocast_dtype("cpu")) if quick else x


@contextmanager
def stopping_at(
    module: nn.Module, take: Callable[[tuple[Any, ...], dict[str, Any]], None]
) -> Iterator[None]:
    """Call `take` with the arguments of `module`'s next call, and end the forward pass there."""

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        take(args, kwargs)
        raise Left

    handle = module.register_forward_pre_hook(hook, with_kwargs=True, prepend=True)
    try:
        yield
    except Left:
        return
    finally:
        handle.remove()
    raise WorkError("the forward pass never reached a module that it was to stop at")
