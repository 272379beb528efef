"""Loads a checkpoint to be run: in the type that is fastest here, packed where that pays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import torch

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.io.memory import freed_at_once, freed_is_kept
from tfcli.console import Console
from tfcli.devices import dtype_name, pick_dtype
from tfcli.models.quantized import packed_linears, repack_linear, unpack_linears
from tfcli.units import format_bytes

if TYPE_CHECKING:
    from tfcli.models.model import Model


def load_ready(
    checkpoint: Checkpoint,
    console: Console,
    *,
    task: str | None = "causal-lm",
    dtype: str = "auto",
    device: torch.device,
    attention: str = "sdpa",
    many_rows: bool = False,
    keep_packed: bool = False,
) -> Model:
    """Load a model for inference in the fastest form of it that is exact enough.

    Packed linears are packed once more for the kernels of this processor, and are nowhere else
    then. Those that no kernel runs are unpacked once, where there is memory for it: unpacking them
    at every use makes them several times slower than a dense layer.

    Args:
        checkpoint: opened by `open_model`.
        console: told what became of packed weights.
        task: the head; None takes the one that the checkpoint was saved for.
        dtype: a name, or `auto`.
        device: where the model goes.
        attention: name of the attention backend.
        many_rows: the model will see hundreds of tokens at once and never one alone, as in an
            evaluation: kernels for packed weights are of no use then. Those whose inputs are
            rounded to int8 stay packed, whose product of many rows is the faster one too.
        keep_packed: nothing is unpacked for good, so that no more memory is taken than asked for.
    """
    quantization = checkpoint.model_config.quantization
    chosen = pick_dtype(dtype, None if many_rows else quantization, device.type)
    few_rows = device.type == "cpu" and not many_rows

    def filled(model: Model, name: str) -> None:
        _compile_kernels(model, console)
        repack_linear(model, name)

    with freed_at_once():  # what it takes to pack weights once more must not stay
        model = load_model(
            checkpoint,
            task=task,
            dtype=chosen,
            device=device,
            attention=attention,
            filled=filled if few_rows else None,
        )
        if few_rows:
            _compile_kernels(model, console)
    freed_is_kept()
    if quantization is not None:
        _unpack(model, console, everything=many_rows, keep=keep_packed)
    return model


def _compile_kernels(model: Model, console: Console) -> None:
    """Compile the kernels for few rows before the first token waits for them, and say so."""
    from tfcli.models.kernels.dense import LEAST_WEIGHTS
    from tfcli.models.kernels.library import library, status

    dense = [each.numel() for each in model.parameters()]
    packed = [each.in_features * each.out_features for each in packed_linears(model).values()]
    if max([*dense, *packed], default=0) < LEAST_WEIGHTS:
        return
    found = status()
    if found.level is not None and not found.built:
        console.note(f"compiling kernels for this processor ({found.level}), once")
        library()
        found = status()
        if found.level is None:
            console.warn(f"without kernels, decoding is slower: {found.reason}")


def _unpack(model: Model, console: Console, *, everything: bool, keep: bool) -> None:
    packed = packed_linears(model)
    slow = {
        name: layer
        for name, layer in packed.items()
        if not layer.runs_rounded and (everything or not layer.has_kernel(model.dtype))
    }
    if not slow:
        return
    if keep:
        if not everything:  # of many tokens, the products take far longer than the unpacking
            console.note(f"no kernel runs {len(slow)} packed layers here: each step unpacks them")
        return
    size = sum(layer.in_features * layer.out_features for layer in slow.values())
    size *= model.dtype.itemsize
    wanted = f"{len(slow)} packed layers take {format_bytes(size)} in {dtype_name(model.dtype)}"
    if size > _free_memory(model.device):
        console.warn(f"{wanted}, more than there is: they stay packed, which is slow")
        return
    names = list(slow)
    del packed, slow  # so that each is let go when its dense layer is there
    unpack_linears(model, names, model.dtype)
    why = "many tokens at once" if everything else "no kernel runs them packed"
    console.note(f"{wanted}: unpacked once ({why})")


def _free_memory(device: torch.device) -> float:
    """Bytes that a device has left, less a tenth for the work itself."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] * 0.9
    return psutil.virtual_memory().available * 0.9
