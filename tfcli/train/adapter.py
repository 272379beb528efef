"""Training an adapter: it is put on the loaded model, and written beside its base."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tfcli.devices import Precision, pick_precision
from tfcli.errors import ModelError, UsageError
from tfcli.models.adapters.attach import DEFAULT, begin_adapter, shape_adapter, shared_targets
from tfcli.models.adapters.settings import MOVING_STARTS, AdapterSettings, Allocation, Encoder
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.sharding import fitted
from tfcli.train.adapter_spec import AdapterSection
from tfcli.train.spec import TrainSpec

if TYPE_CHECKING:
    from tfcli.checkpoints.checkpoint import Checkpoint
    from tfcli.console import Console
    from tfcli.models.model import Model

SECOND = ("lora_B.weight", "lora_embedding_B")
"""LoRA's second matrices, by the ends of their names."""
_CHOOSING = (
    "sequence-classification",
    "token-classification",
    "question-answering",
    "multiple-choice",
    "image-classification",
    "audio-classification",
)
"""Tasks whose heads choose, and are a task's own."""
_FLOATS = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
TRAINED_ON = ("gptq", "awq", "bitsandbytes", "hqq")
"""How a frozen base may be packed: quant_method."""


def settings_of(section: AdapterSection) -> AdapterSettings:
    """The model core's settings of a recipe's section."""

    def words(value: list[str] | str) -> tuple[str, ...] | str:
        return value if isinstance(value, str) else tuple(value)

    assert section.type is not None, "there is an adapter"
    return AdapterSettings(
        type=section.type,
        rank=section.rank,
        alpha=section.alpha,
        dropout=section.dropout,
        rslora=section.rslora,
        dora=section.dora,
        start=section.start,
        target_modules=words(section.target_modules),
        exclude_modules=words(section.exclude_modules),
        layers=None if section.layers is None else tuple(section.layers),
        modules_to_save=tuple(section.modules_to_save),
        feedforward_modules=words(section.feedforward_modules),
        bias=section.bias,
        virtual_tokens=section.virtual_tokens,
        encoder=Encoder(
            kind=section.encoder,
            width=section.encoder_width,
            layers=section.encoder_layers,
            dropout=section.encoder_dropout,
        ),
        allocation=Allocation(
            target_rank=section.final_rank,
            first_steps=section.first_steps,
            last_steps=section.last_steps,
            every=section.allocate_every,
            beta1=section.betas[0],
            beta2=section.betas[1],
            orthogonality=section.orthogonality,
        ),
    )


def shape_trained(model: Model, spec: TrainSpec, console: Console) -> None:
    """Put the spec's adapter on a model without memory; what is not trained is frozen.

    Raises:
        UsageError: modules that the model lacks, or that take no such adapter.
    """
    settings = settings_of(spec.adapter)
    whole = dict.fromkeys([*settings.modules_to_save, *own_heads(model)])
    try:
        changed = shape_adapter(model, replace(settings, modules_to_save=tuple(whole)))
    except ModelError as error:
        where = f"adapter.{error.where}" if error.where else "adapter"
        raise UsageError(error.what, where=where, fix=error.fix) from error
    for path, other in shared_targets(model, changed).items():
        console.warn(
            f"{path} has the weight of {other} too; the adapter changes {path} alone, so that the "
            "two differ from here on"
        )


def begin_trained(model: Model, spec: TrainSpec) -> None:
    """Give the adapter of a model that is loaded its first values."""
    begin_adapter(model, settings_of(spec.adapter), DEFAULT, spec.seed)


def own_heads(model: Model) -> list[str]:
    """The modules of a head that classifies, by name: new where a task begins, and so trained whole
    beside an adapter, as PEFT does."""
    if model.task not in _CHOOSING:
        return []
    parts = model.named_children()
    return [
        name
        for name, part in parts
        if name != model.base() and next(part.parameters(), None) is not None
    ]


def check_base(quantization: dict[str, Any] | None, spec: TrainSpec) -> None:
    """Refuse a quantized model that cannot be trained as asked.

    Raises:
        UsageError: without an adapter, with a packing that is none of `TRAINED_ON`, or with a
            merge at the end.
    """
    if quantization is None:
        return
    method = quantization.get("quant_method")
    if not spec.has_adapter:
        raise UsageError(
            f"the model is quantized ({method}), and packed weights cannot be trained",
            where="model",
            fix="train an adapter on it (adapter: lora), the model that it was made from, or what "
            "tfcli dequantize makes of it",
        )
    if method not in TRAINED_ON:
        raise UsageError(
            f"adapters are not trained on models that are packed by {method}",
            where="model",
            fix=f"take one of {', '.join(TRAINED_ON)}, or what tfcli dequantize makes of it",
        )
    if spec.adapter.merge:
        raise UsageError(
            f"the model is quantized ({method}), and an adapter is merged into dense weights",
            where="adapter.merge",
            fix="leave it out, and then: tfcli merge BASE ADAPTER OUTPUT --merge-base DENSE",
        )


def held_dtype(
    spec: TrainSpec, start: Checkpoint, device: str, precision: Precision | None = None
) -> torch.dtype:
    """The type that the weights of a start are read in: float32, in which training moves them.

    Frozen ones may stay in 16 bits where the computation is in bfloat16: a product casts float32
    weights to that, and casts these to the same numbers.

    Args:
        spec: of the training.
        start: what is loaded.
        device: the kind of device.
        precision: of the computation; None for what the device has.
    """
    precision = precision or pick_precision(spec.precision, device)
    whole = not spec.has_adapter or spec.adapter.start in MOVING_STARTS or spec.adapter.merge
    held = {each.dtype for each in start if each.dtype in _FLOATS}
    if whole or len(held) != 1 or precision != "bfloat16":
        return torch.float32
    return _FLOATS[held.pop()]


def widen(model: Model) -> None:
    """Give everything that was read in 16 bits float32, but the weights of linears."""
    floats = [each for each in model.parameters() if each.is_floating_point()]
    if all(parameter.dtype == torch.float32 for parameter in floats):
        return
    counts = Counter(
        id(parameter)
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
    )
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            alone = counts[id(parameter)] == 1
            if isinstance(module, nn.Linear) and name == "weight" and alone:
                continue
            if parameter.is_floating_point() and parameter.dtype != torch.float32:
                setattr(module, name, fitted(parameter, parameter.detach().float()))
    model.tie_weights()


def raise_rates(model: Model, optimizer: torch.optim.Optimizer, ratio: float) -> None:
    """Let LoRA's second matrices learn faster than the rest (LoRA+, Hayou et al. 2024).

    Args:
        model: with the adapter.
        optimizer: that has made no step yet; its groups are parted.
        ratio: of the rates.
    """
    named = model.named_parameters()
    second = {id(parameter) for name, parameter in named if name.endswith(SECOND)}
    for group in list(optimizer.param_groups):
        fast = [each for each in group["params"] if id(each) in second]
        slow = [each for each in group["params"] if id(each) not in second]
        rate = group["initial_lr"] * ratio
        if not slow:
            group.update(lr=rate, initial_lr=rate)
        elif fast:
            group["params"] = slow
            optimizer.add_param_group({**group, "params": fast, "lr": rate, "initial_lr": rate})


def all_weights(model: Model) -> int:
    """How many weights a model has, packed ones included."""
    packed = [each for each in model.modules() if isinstance(each, QuantizedLinear)]
    held = sum(each.numel() for each in model.parameters() if each.is_floating_point())
    return held + sum(each.in_features * each.out_features for each in packed)


def trained_weights(model: Model) -> int:
    """How many of them are trained."""
    return sum(each.numel() for each in model.parameters() if each.requires_grad)
