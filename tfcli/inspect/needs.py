"""What a model needs to be loaded, run, trained and adapted in each dtype, by arithmetic alone.

load   every weight in the dtype. In `int8` and `int4` the weights of linears are packed, in groups
       of 128 with a scale and a zero point of 2 and 1 bytes; tables, norms and biases have 2 bytes.
run    load + key/value cache + activations, as in `tfcli.inspect.memory`.
train  weight, gradient and AdamW's two moments, all in the dtype; in bfloat16 that is without a
       copy of the weights in fp32. Activations come on top; they depend on the batch.
adapt  the weights in the dtype, and for LoRA of rank 16 on every linear of the blocks 16 bytes a
       parameter: weight, gradient and moments in fp32.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tfcli.inspect.memory import longest, while_running
from tfcli.inspect.spec import DeviceMemory, Need, TensorLine
from tfcli.models.configs.text import TextConfig

RANK = 16
GROUP = 128
FILLED = 0.9
"""The part of a device's memory that a model may take; the system and the program need some."""
_BYTES = {"float32": 4.0, "bfloat16": 2.0}
_BITS = {"int8": 8, "int4": 4}
_IN_A_BLOCK = re.compile(r"(^|\.)\d+\.")


def needs(
    config: TextConfig | None,
    task: str | None,
    parameters: int,
    tensors: Sequence[TensorLine],
    machine: Sequence[DeviceMemory],
    context: int | None = None,
) -> list[Need]:
    """Every need that is known, and the devices that it fits on.

    Args:
        config: the family's config; None where it is not understood: then `run` is not known.
        task: what the model is run as.
        parameters: of the model.
        tensors: as they are stored.
        machine: the memory that is here.
        context: tokens of a sequence; None for the config's longest.
    """
    found = []

    def add(action: str, dtype: str, size: float) -> None:
        fits = [device.device for device in machine if size <= FILLED * device.bytes]
        found.append(
            Need.model_validate(
                {"action": action, "dtype": dtype, "bytes": int(size), "fits": fits}
            )
        )

    linears = _linears(config, tensors)
    packed = min(sum(rows * columns for rows, columns in linears), parameters)
    loads = {dtype: parameters * size for dtype, size in _BYTES.items()}
    for dtype, bits in _BITS.items():
        loads[dtype] = packed * (bits / 8 + 3 / GROUP) + (parameters - packed) * 2
    for dtype, size in loads.items():
        add("load", dtype, size)
    if config is not None:
        length = context or longest(config)
        for dtype, size in loads.items():
            add("run", dtype, size + sum(while_running(config, task, length, _BYTES.get(dtype, 2))))
    adapter = sum(RANK * (rows + columns) for rows, columns in linears)
    for dtype, size in _BYTES.items():
        add("train", dtype, parameters * size * 4)
        add("adapt", dtype, loads[dtype] + adapter * 16)
    return found


def _linears(config: TextConfig | None, tensors: Iterable[TensorLine]) -> list[tuple[int, int]]:
    """Rows and columns of every linear in the blocks; each of a stack of experts counts."""
    vocabulary = None if config is None else config.vocab_size
    found = []
    for tensor in tensors:
        shape = tensor.shape
        if len(shape) in (2, 3) and _IN_A_BLOCK.search(tensor.name) and vocabulary not in shape:
            experts = shape[0] if len(shape) == 3 else 1
            found += [(shape[-2], shape[-1])] * experts
    return found
