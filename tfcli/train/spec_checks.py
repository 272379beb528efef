"""What of a training's keys does not go together, or has no effect beside others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfcli.train.measures.spec import check_metrics
from tfcli.train.objectives.spec import (
    CAUSAL,
    IN_ROWS,
    IN_TEXTS,
    WITH_TEXT,
    WITHOUT_TEXT,
    columns_of,
)

if TYPE_CHECKING:
    from tfcli.train.spec import TrainSpec


def check_adapter(spec: TrainSpec) -> None:
    """Refuse what an adapter does not go with.

    Raises:
        ValueError: naming the keys.
    """
    if spec.load_in is not None and not spec.has_adapter:
        raise ValueError("load_in: packed weights are trained by an adapter: give adapter")
    if spec.has_adapter and (spec.freeze or spec.train_only):
        raise ValueError(
            "an adapter freezes the whole model: leave out freeze and train_only, and name "
            "what is trained beside it in adapter.modules_to_save"
        )
    through = spec.adapter.type in ("prompt-tuning", "p-tuning")
    if through and spec.strategy in ("fsdp", "zero3", "tp"):
        raise ValueError(
            f"adapter: {spec.adapter.type} learns through what blocks keep of its tokens, for "
            f"which strategy: {spec.strategy} does not gather weights: take strategy: ddp, or "
            "adapter: prefix-tuning"
        )
    if spec.adapter.type == "adalora" and spec.strategy not in (None, "single", "ddp"):
        raise ValueError(
            f"adapter: adalora looks at whole gradients, which strategy: {spec.strategy} "
            "spreads: take strategy: ddp, or adapter: lora"
        )
    if spec.adapter.has_virtual_tokens:
        for key, other in (
            ("rows.packing", spec.rows.packing),
            ("activation_checkpointing", spec.activation_checkpointing),
            ("compile", spec.compile),
        ):
            if other:
                raise ValueError(
                    f"{key} does not go with adapter: {spec.adapter.type}, whose virtual "
                    "tokens lie in a cache before each row: leave it out"
                )


def check_keys(spec: TrainSpec) -> None:
    """Refuse what else does not go together.

    Raises:
        ValueError: naming the keys.
    """
    _start_fits(spec)
    _sources_fit(spec)
    _strategy_fits(spec)
    _validation_fits(spec)
    _budget_fits(spec)
    _stream_fits(spec)
    _length_fits(spec)


def _start_fits(spec: TrainSpec) -> None:
    """Refuse a training that begins with nothing, or with two things."""
    if (spec.model is None) == (spec.config is None):
        raise ValueError(
            "give exactly one of model (go on from a checkpoint) and config (a new model)"
        )
    if (spec.data is None) == (not spec.mixture):
        raise ValueError("give exactly one of data and mixture (several, each with a weight)")
    if spec.fim.rate and spec.bpe_dropout:
        raise ValueError("fim draws its parts anew, and bpe_dropout their tokens: give one")
    if spec.objective == "distillation" and spec.distillation.teacher is None:
        raise ValueError("distillation learns from a model: give distillation.teacher")
    if spec.config is not None and spec.tokenizer is None and spec.objective in WITH_TEXT:
        raise ValueError("a new model needs a tokenizer: give tokenizer")


def _strategy_fits(spec: TrainSpec) -> None:
    if spec.strategy_from is not None and spec.strategy is not None:
        raise ValueError("give strategy or strategy_from, not both")
    if spec.deepspeed.offload_weights is not None and spec.strategy != "zero3":
        raise ValueError("deepspeed.offload_weights: zero3 alone spreads weights")
    if spec.ema_decay is not None and spec.strategy == "zero3":
        raise ValueError("ema_decay: zero3 alone has no weights to average: take zero2 or fsdp")


def _validation_fits(spec: TrainSpec) -> None:
    """Refuse metrics that are not measured, and what compares validations where there are none."""
    if spec.validation is not None and spec.validation_share is not None:
        raise ValueError("give validation or validation_share, not both")
    if spec.keep == "best" and spec.validation is None and spec.validation_share is None:
        raise ValueError(
            "keep: best compares validation losses: give validation or validation_share"
        )
    check_metrics(spec.objective, [*(spec.metrics or ()), *filter(None, [spec.best_metric])])
    if spec.metrics is not None and spec.best_metric not in (None, *spec.metrics):
        raise ValueError(f"best_metric: {spec.best_metric} is not among metrics: add it there")
    if spec.metrics == [] and spec.generation != type(spec.generation)():
        raise ValueError("generation has no effect with metrics: [], for which no text is made")


def _length_fits(spec: TrainSpec) -> None:
    """Refuse a run without an end, and what only a longer one has."""
    if spec.max_steps is not None and spec.epochs is not None:
        raise ValueError("give one of max_steps and epochs, not both")
    if spec.max_steps is None and spec.epochs is None and spec.max_minutes is None:
        raise ValueError("give max_steps, epochs or max_minutes")
    if spec.max_steps is not None and spec.warmup_steps > spec.max_steps:
        raise ValueError(
            f"schedule.warmup_steps ({spec.warmup_steps}) is more than max_steps ({spec.max_steps})"
        )
    kept = type(spec).model_fields["keep_checkpoints"].default
    if spec.checkpoint_every == 0 and spec.keep_checkpoints != kept:
        raise ValueError("keep_checkpoints has no effect with checkpoint_every: 0, which has none")


def _sources_fit(spec: TrainSpec) -> None:
    """Refuse keys of a source that its objective does not read."""
    read = {
        "text_field": spec.objective in IN_TEXTS,
        "columns": spec.objective in (*CAUSAL, *IN_ROWS),
        "format": spec.objective in CAUSAL,
    }
    for name, source in spec.mixture.items():
        for key, has_effect in read.items():
            if getattr(source, key) is not None and not has_effect:
                raise ValueError(
                    f"mixture.{name}.{key} has no effect with objective: {spec.objective}"
                )
    if len(spec.mixture) == 1:
        ((name, source),) = spec.mixture.items()
        if source.weight != 1:
            raise ValueError(f"mixture.{name}.weight has no effect on a source alone")
    usual = type(spec).model_fields["split"].default
    apart = spec.mixture and all(each.split is not None for each in spec.mixture.values())
    if apart and spec.split != usual:
        raise ValueError("split has no effect where every source of mixture has its own")
    for each in spec.sources if spec.objective in IN_ROWS else ():
        columns_of(spec.objective, spec.of(each).columns)


def _stream_fits(spec: TrainSpec) -> None:
    """Refuse what needs all rows before the first step."""
    refused = {
        "epochs: how many rows there are": (spec.epochs, "give max_steps"),
        "validation_share: which rows are held out": (
            spec.validation_share,
            "give validation",
        ),
        "rows.group_by_length: what is of like length": (
            spec.rows.group_by_length,
            "take rows.packing or batch_tokens",
        ),
        "bpe_dropout: all words": (spec.bpe_dropout, "leave it out"),
    }
    for what, (value, fix) in refused.items():
        if spec.stream and value:
            raise ValueError(f"{what} is not known of a stream: {fix}")


def _budget_fits(spec: TrainSpec) -> None:
    """Refuse what batches by tokens do not go with."""
    if spec.batch_tokens is None:
        return
    if spec.objective in WITHOUT_TEXT:
        raise ValueError(f"batch_tokens: {spec.objective} has no tokens: give batch_size")
    if spec.objective in ("contrastive", "kto"):
        raise ValueError(f"batch_tokens: {spec.objective} compares the rows of a batch: batch_size")
    if spec.rows.group_by_length:
        raise ValueError("rows.group_by_length has no effect with batch_tokens, which does it")
    if spec.compile:
        raise ValueError("batch_tokens: batches differ in shape, and compile wants one")
    if spec.batch_tokens < spec.sequence_length:
        raise ValueError(
            f"batch_tokens ({spec.batch_tokens}) holds no row of sequence_length "
            f"({spec.sequence_length})"
        )
