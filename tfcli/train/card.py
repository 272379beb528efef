"""The model card of a trained model."""

from __future__ import annotations

from collections.abc import Mapping

from tfcli.checkpoints.card import Origin, card_text
from tfcli.train.data_spec import DataSource
from tfcli.train.spec import TrainResult, TrainSpec


def model_card(spec: TrainSpec, result: TrainResult, hashes: Mapping[str, str]) -> str:
    """The text of README.md: what was trained, on what, how far, and what it came to.

    Args:
        spec: of the training.
        result: of the same.
        hashes: the hash or hub commit of each input, by its name.
    """
    origins = [Origin("data", each.path, _share(spec, each)) for each in spec.sources]
    if spec.validation is not None and spec.validation not in {each.ref for each in origins}:
        origins.append(Origin("validation", spec.validation))
    if spec.tokenizer is not None:
        origins.append(Origin("tokenizer", spec.tokenizer))
    if spec.distillation.teacher is not None:
        origins.append(Origin("teacher", spec.distillation.teacher))
    done = "a new model trained on it"
    if spec.model is not None:
        origins.insert(0, Origin("start", spec.model))
        done = "an adapter trained on it" if spec.writes_adapter else "trained further"
    loss = f"{result.train_loss:.4f}"
    if result.validation_loss is not None:
        loss += f", {result.validation_loss:.4f} on the validation data"
    part = result.trained_part
    facts = {
        "objective": spec.objective,
        "steps": f"{result.steps:,} of {_step(spec)}"
        + (f" on {result.processes} processes" if result.processes > 1 else ""),
        "targets": f"{result.tokens:,}, {result.epochs:g} epochs",
        "parameters": f"{result.parameters:,}" + ("" if part is None else f", {part:,} trained"),
        "optimizer": f"{spec.optimizer.name}, rates up to {result.learning_rate:g}, "
        f"{result.warmup_steps} steps of warm-up",
        "precision": f"{result.precision}, seed {spec.seed}",
        "loss": loss,
        "metrics": ", ".join(f"{name} {value:.4f}" for name, value in _metrics(result).items()),
        "kept": "" if result.kept == "last" else f"the weights after step {result.best_step}",
        "verified": "every tensor read back and equal to the model's, bit for bit",
    }
    return card_text(done, origins, hashes, facts)


def _step(spec: TrainSpec) -> str:
    """What a step takes in each process."""
    if spec.batch_tokens is not None:
        return f"{spec.batch_tokens * spec.gradient_accumulation:,} tokens at most"
    examples = spec.batch_size * spec.gradient_accumulation
    return f"{examples} examples of up to {spec.sequence_length} tokens"


def _share(spec: TrainSpec, source: DataSource) -> str:
    """What is said of a source's share, where there are several."""
    whole = sum(each.weight for each in spec.sources)
    return "" if source.weight == whole else f"{source.weight / whole:.1%} of the examples"


def _metrics(result: TrainResult) -> Mapping[str, float]:
    """What was measured on the validation of the weights that were kept."""
    return result.best_metrics if result.kept == "best" else result.metrics
