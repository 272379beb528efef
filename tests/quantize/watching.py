"""A method that keeps what the walk shows it, and the linears of a model for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.models.layouts.gptq import GPTQPacking
from tfcli.models.layouts.values import AffineFormat, Values
from tfcli.models.model import Model
from tfcli.models.rules import Place
from tfcli.quantize.calibrate import calibrate
from tfcli.quantize.methods.method import Method, Quantized
from tfcli.quantize.plan import LinearPlan


@dataclass(frozen=True)
class Dense(Values):
    """A weight that is not quantized at all."""

    weight: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        m, n = self.weight.shape
        return m, n

    def rows(self, start: int, stop: int) -> Tensor:
        return self.weight[start:stop]


class Watching(Method):
    """Changes weights as it is told, and remembers inputs and order.

    `seen` has the batches of the first linear of each group, and `all_seen` the last of every one.
    """

    calibrated = True
    layouts = ("gptq",)

    def __init__(self, change: Callable[[Tensor], Tensor] = torch.clone) -> None:
        self.change = change
        self.seen: dict[str, list[Tensor]] = {}
        self.all_seen: dict[str, Tensor] = {}
        self.order: list[str] = []

    def format(self, name: str) -> AffineFormat:
        return AffineFormat(8, -1)

    def observe(self, linears, inputs, dense) -> None:
        self.seen.setdefault(linears[0].name, []).append(inputs)
        self.all_seen.update({linear.name: inputs.clone() for linear in linears})

    def quantize(self, linear, weight) -> Quantized:
        self.order.append(linear.name)
        return Quantized(Dense(self.change(weight)))


def linears_of(model: Model) -> dict[str, LinearPlan]:
    """Every linear of the blocks, as if all were to be quantized."""
    walk = model.calibration
    names = [
        f"{walk.blocks}.{at}.{name}"
        for at, block in enumerate(model.blocks)
        for name in walk.linears(block)
    ]
    found = {}
    for name in names:
        out_features, in_features = model.get_submodule(name).weight.shape
        packing = GPTQPacking(8, -1, True, "gptq")
        found[name] = LinearPlan(name, Place(f"{name}.weight"), in_features, out_features, packing)
    return found


def walk(
    model: Model,
    batches: list[Tensor],
    method: Method,
    wanted: Callable[[str], bool] = lambda name: True,
) -> Iterator[list[str]]:
    """The names of the linears of each block, as the walk quantizes them."""
    linears = {name: plan for name, plan in linears_of(model).items() if wanted(name)}
    for done in calibrate(model, model.calibration, batches, method, wanted=linears):
        yield [linear.name for linear, _, _ in done]
