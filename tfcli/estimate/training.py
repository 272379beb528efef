"""The memory of a training, from a step that is made with tensors without values."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_base, open_model
from tfcli.console import Console
from tfcli.devices import Precision, autocast
from tfcli.estimate.account import Account
from tfcli.estimate.heap import Heap
from tfcli.estimate.live import Kind, Live, give_memory
from tfcli.estimate.spreading import Spreading, spreading_of
from tfcli.models.loading import build
from tfcli.models.model import Model
from tfcli.quantize.load_in import load_in
from tfcli.tokenizers.load import Tokenizer
from tfcli.train.adalora import Orthogonal
from tfcli.train.adapter import all_weights, held_dtype, shape_trained, trained_weights
from tfcli.train.average import WeightAverage
from tfcli.train.batch import Batch
from tfcli.train.beside import Beside, beside_of, read_tokenizer
from tfcli.train.freezing import freeze
from tfcli.train.objectives.objective import Forward, Material, Objective
from tfcli.train.objectives.registry import make_objective
from tfcli.train.optimizer import build_optimizer
from tfcli.train.prepare import (
    check_task,
    config_of,
    free_rows,
    new_config,
    with_keys,
    without_adapter,
)
from tfcli.train.spec import TrainSpec

STEPS = 2
"""Steps that are made: the second one has the optimizer's state beside everything else."""


LASTING: tuple[Kind, ...] = ("weights", "frozen", "optimizer")


@dataclass(frozen=True)
class Start:
    """What a recipe's model is, from its headers and the tokenizer's files.

    Args:
        spec: the recipe's.
        checkpoint: that training goes on from; None for a new model.
        config: of the model.
        words: its tokenizer; None where the objective reads no text.
        beside: what goes with it.
    """

    spec: TrainSpec
    checkpoint: Checkpoint | None
    config: Any
    words: Tokenizer | None
    beside: Beside

    @classmethod
    def of(cls, spec: TrainSpec) -> Start:
        """Read it.

        Raises:
            UsageError, WorkError: as the training.
        """
        checkpoint = None
        if spec.model is not None:
            checkpoint = load_in(open_base(spec.model), spec.load_in, Console.silent())
        words = read_tokenizer(spec, checkpoint) if make_objective(spec).reads_text else None
        new = None if spec.config is None else new_config(spec.config, words)
        config = config_of(new, checkpoint)
        return cls(spec, checkpoint, config, words, beside_of(spec, checkpoint, config))

    def material(self, console: Console) -> Material:
        """What the examples of the training are made of."""
        return Material(self.spec, self.words, self.beside.folder, console, self.config)

    def model(self, objective: Objective) -> Model:
        """The model on the meta device."""
        if self.checkpoint is None:
            config = self.config.replace(**objective.config_keys)
        else:
            config = with_keys(self.checkpoint, objective.config_keys).model_config
        return build(config, objective.task_of(self.config), attention=self.spec.attention)

    def dtypes(self, model: Model, precision: Precision) -> dict[str, torch.dtype]:
        """The types in which weights are held that have another than float32."""
        if self.checkpoint is None or precision != "bfloat16":
            return {}
        dtype = held_dtype(self.spec, self.checkpoint, "cpu", precision)
        linears = [
            name
            for name, each in model.named_modules()
            if isinstance(each, nn.Linear) and not each.weight.requires_grad
        ]
        return {f"{name}.weight": dtype for name in linears if dtype != torch.float32}


def count(
    start: Start,
    *,
    processes: int,
    precision: Precision,
    heap: Heap | None,
    console: Console | None = None,
) -> Account:
    """What each process of a training holds.

    Args:
        start: with the spec.
        processes: together.
        precision: of the forward pass.
        heap: see `Live`.
        console: hears of the adapter.
    """
    spec, console = start.spec, console or Console.silent()
    objective = make_objective(spec)
    check_task(start.config, objective.task_of(start.config))
    batch = objective.widest_batch(start.material(console))
    spreading = spreading_of(spec, processes)
    vocabulary = {start.config.text.vocab_size} if start.config.has_text else set()
    with ExitStack() as stack:
        stack.enter_context(spreading.group())
        model = start.model(objective)
        free_rows(model)
        if spec.has_adapter:
            shape_trained(model, spec, console)
        spreading.spread(model)
        if spec.freeze or spec.train_only:
            freeze(model, spec)
        live = stack.enter_context(Live(tuple(vocabulary), heap))
        with live.making("weights"):
            give_memory(model, start.dtypes(model, precision))
            model.tie_weights()
        model.set_activation_checkpointing(spec.activation_checkpointing)
        parameters, trainable = all_weights(model), trained_weights(model)
        with live.making("frozen"):
            objective.begin(partial(_frozen, start, objective, model))
        if spec.adapter.type == "adalora":
            objective = Orthogonal(objective, model)
        given = {name: each.clone() for name, each in batch.items()}
        lasting = _steps(spec, model, objective, given, spreading, live, precision)
        peak: dict[str, int] = {kind: size for kind, size in live.peak.items() if size}
        held = sum(peak.values())
        allocator = 0 if heap is None else max(0, heap.peak - held)
    return Account(peak, allocator, parameters, trainable, lasting)


def _steps(
    spec: TrainSpec,
    model: Model,
    objective: Objective,
    batch: Batch,
    spreading: Spreading,
    live: Live,
    precision: Precision,
) -> dict[str, int]:
    """Make the steps of the loop; where gradients add up, two passes of each are enough.

    Returns:
        what stays between steps, and the gradients of one
    """
    model.train()
    wrapped, optimizer = spreading.wrap(
        model, live, lambda part: build_optimizer(part, spec.optimizer, spec.peak_rate)
    )
    if spec.ema_decay is not None:
        with live.making("weights"):
            average = WeightAverage(model, spec.ema_decay)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(partial(spreading.has_gradient, live))
    passes = min(2, spec.gradient_accumulation)
    for _ in range(STEPS):
        for number in range(passes):
            with spreading.accumulate(wrapped, last=number + 1 == passes):
                with live.graph(), autocast(precision, "cpu"):
                    loss = objective.loss(wrapped, batch)
                loss.backward()
                del loss
        spreading.update(model, optimizer, live, spec.clip_norm)
        if spec.ema_decay is not None:
            average.update()
    lasting: dict[str, int] = {kind: live.now.get(kind, 0) for kind in LASTING}
    return {**lasting, "gradients": live.most.get("gradients", 0)}


def _frozen(start: Start, objective: Objective, trained: Model, ref: str | None) -> Forward:
    """What a loss compares with: as in `frozen_model`, the trained model where it can be."""
    adapter = start.spec.adapter
    if ref is None and start.spec.has_adapter and adapter.bias == "none":
        return partial(without_adapter, trained, trained.forward)
    if ref is None:
        model = start.model(objective)
    else:
        model = build(open_model(ref).model_config, "causal-lm", attention=start.spec.attention)
    give_memory(model, {})
    model.tie_weights()
    return model.requires_grad_(False).eval()
