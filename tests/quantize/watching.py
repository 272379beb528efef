"""A method that keeps what the walk shows it, and a walk for it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tfcli.models.layouts.gptq import GPTQLayout, GPTQPacking
from tfcli.models.layouts.values import AffineFormat, Values
from tfcli.models.loading import build
from tfcli.models.model import Model
from tfcli.models.saving import export_tensors
from tfcli.quantize.methods.method import Method, Quantized
from tfcli.quantize.plan import Choice, make_plan
from tfcli.quantize.text import inputs_of
from tfcli.quantize.walk import Walk
from tfcli.quantize.weights import StreamedWeights


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
        self.forgotten: list[str] = []

    def format(self, name: str) -> AffineFormat:
        return AffineFormat(8, -1)

    def observe(self, linears, inputs, dense) -> None:
        self.seen.setdefault(linears[0].name, []).append(inputs)
        self.all_seen.update({linear.name: inputs.clone() for linear in linears})

    def forget(self, linear) -> None:
        self.forgotten.append(linear.name)

    def quantize(self, linear, weight) -> Quantized:
        self.order.append(linear.name)
        return Quantized(Dense(self.change(weight)))


class AnySize(GPTQPacking):
    """Takes linears of every size; nothing is ever packed."""

    def misfit(self, in_features: int, out_features: int) -> str | None:
        return None


class AnyLayout(GPTQLayout):
    """See `AnySize`."""

    @classmethod
    def packing_for(cls, form) -> AnySize:
        return AnySize(form.bits, form.group_size, True, "gptq")


def walk(
    model: Model,
    batches: list[Tensor],
    method: Method,
    *,
    exclude: tuple[str, ...] = (),
    exact: bool = True,
) -> Iterator[list[str]]:
    """The names of the linears of each block, as the walk quantizes them; see `steps`."""
    _, found = steps(model, batches, method, exclude=exclude, exact=exact)
    return found


def steps(
    model: Model,
    batches: list[Tensor],
    method: Method,
    *,
    exclude: tuple[str, ...] = (),
    exact: bool = True,
    head: str | None = None,
) -> tuple[Model, Iterator[list[str]]]:
    """A model on the meta device, and a walk over it that reads weights when it needs them.

    Args:
        model: whose weights these are.
        batches: token ids.
        method: calibrated.
        exclude: of the linears.
        exact: see `Walk`.
        head: full name of a head that is quantized too.
    """
    source = {name: tensor.clone() for name, tensor in export_tensors(model)}
    streamed = build(model.config, model.task).eval()
    plan = make_plan(
        streamed,
        source,
        format_of=method.format,
        layout=AnyLayout,
        choice=Choice((), exclude),
        head=head,
    )
    weights = StreamedWeights(streamed, source, plan, "cpu")
    inputs = [inputs_of(streamed, ids) for ids in batches]
    folder = Path(tempfile.gettempdir())
    made = Walk(weights, inputs, method, folder, lambda unit: None, exact=exact)
    done = made.run(plan.units)
    return streamed, ([found.linear.name for found in linears] for _, linears in done)
