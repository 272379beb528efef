"""What a run says of itself before the first step, and when it is asked to stop."""

from __future__ import annotations

from tfcli.console import Console
from tfcli.train.assemble import Run
from tfcli.train.moving_spec import (
    ADAPTER_RATE,
    HIGHEST_ADAPTER_RATE,
    HIGHEST_PRETRAINED_RATE,
    PRETRAINED_RATE,
)


def introduce(run: Run, console: Console) -> None:
    """The model, the data, what really runs, and where it goes on."""
    spec, loop = run.spec, run.loop
    device = run.strategy.device.type
    highest, usual = HIGHEST_PRETRAINED_RATE, PRETRAINED_RATE
    if spec.has_adapter:
        highest, usual = HIGHEST_ADAPTER_RATE, ADAPTER_RATE
    if spec.model is not None and spec.peak_rate > highest:
        console.warn(
            f"optimizer.lr {spec.peak_rate:g} is far above what a pretrained model bears: it "
            f"forgets what it knew (left out, {usual:g} is used)"
        )
    unit = "examples" if spec.batch_tokens is None else "batches"
    part = f"{unit} in the first buffer" if spec.stream else f"{unit} an epoch"
    console.note(
        f"{run.moved.weights / 1e6:,.2f} M parameters, "
        + (
            f"{run.moved.trained / 1e6:,.3f} M of them trained, "
            if run.moved.trained < run.moved.weights
            else ""
        )
        + f"{loop.feed.part_length:,} {part}, {loop.feed.items_per_step} a step, "
        f"{loop.precision} on {device}"
    )
    found = run.strategy.proof(loop.wrapped)
    if run.strategy.name != "single":
        console.note(found)
    console.note(
        f"learning rate {spec.peak_rate:g}"
        + (f" after {spec.warmup_steps:,} steps of warm-up" if spec.warmup_steps else "")
    )
    if run.resumed_from:
        console.note(f"going on from step {run.resumed_from}")
    first = run.inputs.first.get("input_ids")
    if first is not None and run.inputs.tokenizer is not None:
        ids = first.flatten()[:8].tolist()
        console.detail(f"first tokens: {ids} = {run.inputs.tokenizer.decode(ids)!r}")
