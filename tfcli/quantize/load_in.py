"""Quantizing while loading: the linears of a dense checkpoint come out packed when they are read.

What `load_in` makes is a checkpoint again, with the config and the tensors that `tfcli quantize`
would have written. So it is loaded as any other, and its numbers are those of the folder.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.io.dtypes import dtype_code
from tfcli.checkpoints.located import located
from tfcli.console import Console
from tfcli.errors import ModelError, UsageError
from tfcli.models.layouts.registry import get_layout, layout_of, runs_packed
from tfcli.models.loading import build
from tfcli.models.walks import linears_of
from tfcli.quantize.methods.registry import get_method
from tfcli.quantize.plan import Choice, LinearPlan, Plan, make_plan
from tfcli.quantize.spec import QuantizeSpec
from tfcli.quantize.work import weight_of

if TYPE_CHECKING:
    from torch import Tensor

    from tfcli.checkpoints.checkpoint import Weights
    from tfcli.models.layouts.layout import Layout
    from tfcli.models.model import Model
    from tfcli.quantize.methods.method import Method

_GRID = {"method": "rtn", "group_size": 32, "symmetric": False}
WORDS: dict[str, dict[str, Any]] = {
    "8bit": {**_GRID, "bits": 8},
    "4bit": {**_GRID, "bits": 4},
    "3bit": {**_GRID, "bits": 3, "scale_search": "mse"},  # which takes longer, and is worth it here
    "2bit": {**_GRID, "bits": 2, "scale_search": "mse"},
    "nf4": {"method": "bnb", "quant_type": "nf4"},
    "fp4": {"method": "bnb", "quant_type": "fp4"},
    "int8": {"method": "bnb", "bits": 8},
}
"""What a user names -> the keys of `tfcli quantize` that it stands for. None calibrates, so that
a weight needs nothing but itself."""


def load_in(checkpoint: Checkpoint, word: str | None, console: Console) -> Checkpoint:
    """The checkpoint with its linears packed; each weight is read and rounded when it is asked for.

    Linears whose sizes do not fit are dense, and so is what `tfcli quantize` leaves alone.

    Args:
        checkpoint: dense; opened by `open_model`.
        word: one of `WORDS`; None leaves it as it is.
        console: told which linears stay dense.

    Raises:
        UsageError: it is quantized already, or no linear fits.
        ModelError: a family without a walk, or tensors that do not belong to the config.
    """
    if word is None:
        return checkpoint
    if checkpoint.model_config.quantization is not None:
        raise UsageError(
            f"the checkpoint is quantized already ({_form(checkpoint)}), and is loaded so",
            where=f"{checkpoint.path / CONFIG}: quantization_config",
            fix="leave out load_in, or load the checkpoint that it was made from",
        )
    try:
        return _packed(checkpoint, word, console)
    except ModelError as error:
        raise located(error, checkpoint.path) from error


def _packed(checkpoint: Checkpoint, word: str, console: Console) -> Checkpoint:
    model = build(checkpoint.model_config, at_most=checkpoint.most_values)
    spec = QuantizeSpec(model=str(checkpoint.path), output="memory", **WORDS[word])
    chosen = get_method(spec.method)
    method = chosen(spec, spec.group_size or chosen.usual_group_size or -1)
    layout = get_layout(chosen.layouts[0])
    dense = _unfit(model, method, layout)
    if dense:
        name, why = next(iter(dense.items()))
        if len(dense) == len(linears_of(model)):
            raise UsageError(f"no linear layer can be loaded so: {name} {why}", where="load_in")
        console.note(f"{len(dense)} linear layers stay dense: {name} {why}")
    plan = make_plan(
        model,
        checkpoint.weights,
        format_of=method.format,
        layout=layout,
        choice=Choice(exclude=tuple(f"^{re.escape(name)}$" for name in dense)),
    )
    config = layout.of(plan.packed(method.notes())).written_in(checkpoint.config)
    tensors = _tensors(checkpoint, plan, method)
    return replace(checkpoint, config=config, tensors={each.name: each for each in tensors})


def _unfit(model: Model, method: Method, layout: type[Layout]) -> dict[str, str]:
    """Full names of the linears that cannot be packed -> why."""
    found = {}
    for name, linear in linears_of(model).items():
        why = layout.problem(method.format(name), linear.in_features, linear.out_features)
        if why:
            found[name] = why
    return found


def _tensors(checkpoint: Checkpoint, plan: Plan, method: Method) -> list[TensorEntry]:
    """The tensors in the order of the file that `tfcli quantize` writes; a linear's together."""
    found = []
    for unit in plan.units:
        for kept in unit.kept:
            found.append(replace(checkpoint.tensors[kept.stored], name=kept.written))
        for linear in unit.linears:
            made = _Made(linear, method, checkpoint.weights)
            parts = linear.packing.parts(linear.in_features, linear.out_features)
            found += [
                TensorEntry(
                    f"{linear.name}.{part}",
                    dtype_code(shape.dtype),
                    shape.shape,
                    checkpoint.tensors[linear.stored_name].sources,
                    "quantized",
                    partial(made.take, part),
                )
                for part, shape in parts.items()
            ]
    return found


class _Made:
    """The parts of one linear, made when the first is asked for; what was taken is let go."""

    def __init__(self, linear: LinearPlan, method: Method, source: Weights) -> None:
        self.linear, self.method, self.source = linear, method, source
        self._ready: dict[str, Tensor] = {}

    def take(self, part: str) -> Tensor:
        if part not in self._ready:
            weight = weight_of(self.source, self.linear)
            self.method.check(self.linear, weight)
            values = self.method.quantize(self.linear, weight).values
            self._ready = self.linear.packing.pack(values)
        return self._ready.pop(part)


def _form(checkpoint: Checkpoint) -> str:
    """What a quantized checkpoint is, such as `gptq, 4 bits`."""
    config = checkpoint.config["quantization_config"]
    name = str(config.get("quant_method"))
    return f"{name}, {layout_of(config).usual.format.bits} bits" if runs_packed(name) else name
