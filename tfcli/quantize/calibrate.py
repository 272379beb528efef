"""A walk for what a quantization writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from tfcli.devices import pick_device
from tfcli.errors import UsageError
from tfcli.process_group import ALONE, Processes
from tfcli.quantize.methods.method import Method
from tfcli.quantize.output import Output
from tfcli.quantize.plan import Unit
from tfcli.quantize.runs import Inputs, Visitor
from tfcli.quantize.text import inputs_of
from tfcli.quantize.walk import Finished, Walk
from tfcli.quantize.weights import StreamedWeights


def walk_of(
    output: Output,
    method: Method,
    windows: Tensor,
    scratch: Path,
    finished: Finished,
    *,
    kept: Callable[[Unit], Mapping[str, Tensor]] = lambda unit: {},
    processes: Processes = ALONE,
    visitor: Visitor | None = None,
) -> Walk:
    """A walk over the model of an output.

    Args:
        output: says what is quantized, and how many tokens an expert needs.
        method: calibrated.
        windows (Tensor): int64 [windows, length], of calibration text.
        scratch: see `Walk`; so are the others.
    """
    spec, model = output.spec, output.model
    device = str(processes.device if processes.count > 1 else pick_device(spec.device))
    weights = StreamedWeights(model.eval(), output.checkpoint.weights, output.plan, device)
    return Walk(
        weights,
        batches_of(output, windows, spec.batch_size, device),
        method,
        scratch,
        finished,
        spec.expert_tokens,
        kept,
        processes,
        visitor,
    )


def batches_of(output: Output, windows: Tensor, size: int, device: str = "") -> list[Inputs]:
    """What the model is called with to see some windows, so many at a time."""
    device = device or str(pick_device(output.spec.device))
    return [inputs_of(output.model, ids.to(device)) for ids in windows.split(size)]


def share_of(windows: Tensor, processes: Processes) -> Tensor:
    """A process's windows: [w, s] -> [about w / count, s]. What all have seen is added up, so each
    goes on with the sums of one process that has all windows, and quantizes the same.

    Raises:
        UsageError: there are fewer windows than processes.
    """
    if len(windows) < processes.count:
        raise UsageError(
            f"{processes.count} processes were started, and there are {len(windows)} calibration "
            "windows to share",
            where="samples",
            fix="start fewer processes, or give more text or samples",
        )
    return windows[processes.rank :: processes.count]
