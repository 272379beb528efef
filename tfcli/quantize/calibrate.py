"""The one calibration loop: block by block, each fed by the quantized blocks before it.

Memory follows one block and the hidden states of the calibration windows. Blocks are brought to
fp32 and to the device when their turn comes, and dropped when they are done.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tfcli.errors import UsageError, WorkError
from tfcli.models.calibration import CalibrationWalk, Stage
from tfcli.models.model import Model
from tfcli.quantize.methods.method import Method, Quantized
from tfcli.quantize.plan import LinearPlan

_AT_ONCE = 1 << 28
"""Numbers that the statistics of experts may hold at a time, 1 GiB: a square of each one's inputs.
More experts than fit take further passes over the block."""


@dataclass(frozen=True)
class Windows:
    """Calibration text as token ids.

    Args:
        ids (Tensor): int64 [windows, length].
        available: how many windows the text had.
    """

    ids: Tensor
    available: int


def token_windows(
    documents: Sequence[Sequence[int]],
    *,
    length: int,
    samples: int,
    seed: int,
    prefix: Sequence[int] = (),
) -> Windows:
    """Join documents, cut them into windows that do not overlap, and draw some of these.

    Args:
        documents: token ids of each, with the special tokens that the tokenizer declares.
        length: tokens of a window.
        samples: windows to draw; all of them when there are fewer.
        seed: of the draw.
        prefix: ids that every window begins with, as every text of the model does. They count into
            its length.

    Raises:
        UsageError: no window has room beside the prefix.
        WorkError: the text has less than one window of tokens.
    """
    if length <= len(prefix):
        raise UsageError(
            f"a window of {length} has no room beside the {len(prefix)} tokens that the tokenizer "
            "puts before a text",
            where="sequence_length",
            fix=f"sequence_length: {len(prefix) + 1} or more",
        )
    ids = [token for document in documents for token in document]
    every = list(_cut(ids, length, list(prefix)))
    if not every:
        raise WorkError(
            f"the calibration text has {len(ids)} tokens, less than one window of {length}",
            where="data",
            fix="give more text, or a smaller sequence_length",
        )
    chosen = random.Random(seed).sample(range(len(every)), min(samples, len(every)))
    return Windows(torch.tensor([every[number] for number in chosen]), len(every))


def _cut(ids: Sequence[int], length: int, prefix: list[int]) -> Iterator[list[int]]:
    """Windows of a stream, each with the prefix once: a document that begins one has its own."""
    at = 0
    while True:
        before = [] if list(ids[at : at + len(prefix)]) == prefix else prefix
        end = at + length - len(before)
        if end > len(ids):
            return
        yield [*before, *ids[at:end]]
        at = end


def require_chain(model: Model) -> None:
    """Refuse a model whose blocks are no chain, before anything is read for it.

    Raises:
        UsageError: what a block gives is not what the next one gets, so that calibrating block by
            block would observe inputs that never come.
        ModelError: the family declares no calibration walk.
    """
    if not model.calibration.chained:
        raise UsageError(
            f"{model.config.model_type} with this config cannot be calibrated block by block: its "
            "layers share blocks, or something stands between blocks",
            where="method",
            fix="--method rtn, which needs no calibration",
        )


@torch.no_grad()
def calibrate(
    model: nn.Module,
    walk: CalibrationWalk,
    batches: Sequence[Tensor],
    method: Method,
    *,
    wanted: Mapping[str, LinearPlan],
    device: torch.device | str = "cpu",
) -> Iterator[list[tuple[LinearPlan, Tensor, Quantized]]]:
    """Run `method` over the linears of a model, block by block.

    Within a block the groups of linears that share an input are taken in the order in which they
    run, those of experts that run side by side together. For each group the block runs over all
    batches while the method observes the inputs, which come out of groups and blocks that are
    quantized already. At the end of a block its outputs are computed once more and become the
    inputs of the next one.

    The model is used up: blocks that are done are moved to the meta device.

    Args:
        model: a causal language model with its weights loaded.
        walk: the family's calibration walk.
        batches: token ids, int64 [b, s] each, without padding.
        method: calibrated.
        wanted: full name -> the linear, of those that are to be quantized.
        device: where blocks run.

    Yields:
        The linears of a block in the order in which they were quantized, each with its weight
        before and what was made of it.
    """
    blocks = model.get_submodule(walk.blocks)
    assert isinstance(blocks, nn.ModuleList)
    states = [_capture(model, blocks[0], ids, device) for ids in batches]
    for position, block in enumerate(blocks):
        block.to(device=device, dtype=torch.float32)
        done = []
        for stage in walk.stages(block):
            see = _all_inputs_of if stage.idles else _inputs_of
            for groups in _parts(stage, model, f"{walk.blocks}.{position}", wanted):
                firsts = [model.get_submodule(names[0]) for names in groups]
                for inputs in states:
                    for names, found in zip(groups, see(firsts, block, inputs), strict=True):
                        if found is not None:
                            method.observe([wanted[name] for name in names], found, None)
                for linear in (wanted[name] for names in groups for name in names):
                    weight = model.get_submodule(linear.name).get_parameter("weight")
                    quantized = method.quantize(linear, weight.data)
                    done.append((linear, weight.data, quantized))
                    weight.data = quantized.values.dequantize()
        for inputs in states:
            inputs.hidden = _first(block(inputs.hidden, *inputs.args, **inputs.kwargs))
        block.to("meta")
        yield done


def _parts(
    stage: Stage, model: nn.Module, prefix: str, wanted: Mapping[str, LinearPlan]
) -> Iterator[list[list[str]]]:
    """The full names of a stage's groups, as many groups at a time as `_AT_ONCE` lets through."""
    part: list[list[str]] = []
    numbers = 0
    for group in stage.groups:
        names = [f"{prefix}.{name}" for name in group if f"{prefix}.{name}" in wanted]
        if not names:
            continue
        square = model.get_submodule(names[0]).get_parameter("weight").shape[1] ** 2
        if part and numbers + square > _AT_ONCE:
            yield part
            part, numbers = [], 0
        part.append(names)
        numbers += square
    if part:
        yield part


@dataclass
class BlockInputs:
    """What a block is called with: the hidden states and everything else, which stays the same."""

    hidden: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


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

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    except _Stop:
        return
    finally:
        handle.remove()
    raise WorkError("the forward pass never reached a module that it was to stop at")


def _capture(
    model: nn.Module, block: nn.Module, ids: Tensor, device: torch.device | str
) -> BlockInputs:
    """The inputs of the first block for one batch."""
    found: list[BlockInputs] = []

    def take(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if args:
            found.append(BlockInputs(args[0], args[1:], kwargs))
        else:
            name, hidden = next(iter(kwargs.items()))
            found.append(BlockInputs(hidden, (), {k: v for k, v in kwargs.items() if k != name}))

    with _stopping_at(block, take), _embedding_in_fp32(model, device):
        model(input_ids=ids.to(device))
    return found[0]


@contextmanager
def _embedding_in_fp32(model: nn.Module, device: torch.device | str) -> Iterator[None]:
    """Bring modules to fp32 and to the device when they first run, so that only those move."""

    def hook(module: nn.Module, _: Any) -> None:
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            tensor.data = tensor.data.to(
                device=device, dtype=torch.float32 if tensor.is_floating_point() else None
            )

    handles = [module.register_forward_pre_hook(hook) for module in model.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _inputs_of(
    linears: Sequence[nn.Module], block: nn.Module, inputs: BlockInputs
) -> list[Tensor | None]:
    """What the one linear of a stage gets; the block runs up to it."""
    found: list[Tensor | None] = []
    with _stopping_at(linears[0], lambda args, _: found.append(args[0])):
        block(inputs.hidden, *inputs.args, **inputs.kwargs)
    return found


def _all_inputs_of(
    linears: Sequence[nn.Module], block: nn.Module, inputs: BlockInputs
) -> list[Tensor | None]:
    """What each linear gets in one run of the block; None for one that did not run."""
    found: dict[nn.Module, Tensor] = {}

    def keep(linear: nn.Module, args: tuple[Any, ...]) -> None:
        found[linear] = args[0]

    handles = [linear.register_forward_pre_hook(keep) for linear in linears]
    try:
        block(inputs.hidden, *inputs.args, **inputs.kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return [found.get(linear) for linear in linears]


def _first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]
