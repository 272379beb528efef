"""`tfcli train`: a model from data."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts
from tfcli.console import Console
from tfcli.train.spec import TrainResult, TrainSpec


def show(result: TrainResult, console: Console) -> None:
    """What was trained, how well, how fast."""
    from tfcli.units import format_count

    loss = "nats/token" if result.unit == "token" else f"a {result.unit}"
    part = result.trained_part
    facts = {
        "parameters": format_count(result.parameters)
        + ("" if part is None else f", {format_count(part)} trained"),
        "steps": f"{result.steps:,}"
        + (f" (went on from {result.resumed_from:,})" if result.resumed_from else ""),
        f"{result.unit}s": f"{result.tokens:,} in {result.epochs:.2f} epochs",
        "training loss": f"{result.train_loss:.4f} {loss}",
    }
    if result.validation_loss is not None:
        facts["validation loss"] = f"{result.validation_loss:.4f} {loss} at the end"
    for name, value in result.metrics.items():
        facts[name] = f"{value:.4f} at the end"
    if result.best_validation_loss is not None:
        measured = "".join(f", {name} {value:.4f}" for name, value in result.best_metrics.items())
        facts["best"] = (
            f"{result.best_validation_loss:.4f}{measured} at step {result.best_step:,}"
            + (", kept" if result.kept == "best" else "")
        )
    facts["learning rate"] = f"{result.learning_rate:g}" + (
        f" after {result.warmup_steps:,} steps of warm-up" if result.warmup_steps else ""
    )
    facts["weights"] = result.dtype
    facts["speed"] = (
        f"{result.tokens_per_second:,.0f} {result.unit}s/s, {result.precision} on {result.device}"
        + (f", {result.processes} processes" if result.processes > 1 else "")
    )
    facts["time"] = f"{result.seconds:,.1f} s"
    print_facts(console, "Trained model", facts)


app = spec_command(
    TrainSpec,
    show,
    epilog="tfcli train recipe.yaml --max-steps 500 --set config.hidden_size=256",
)
