"""Attention heads that count less, or that are taken out (Michel et al. 2019).

Attention modules are numbered in the order in which the model has them, or named by their path,
such as `encoder.layers.0.self_attn` of an encoder-decoder, whose modules have no single order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tfcli.models.config import WHERE
from tfcli.models.encoder_decoder import EncoderDecoder
from tfcli.models.errors import ModelError, hint
from tfcli.models.layers.attention import Attend
from tfcli.models.model import Model

PRUNED = "pruned_heads"
"""The key of config.json: attention module -> the heads that it lacks, by their first numbers."""
Layer = int | str


@dataclass(frozen=True)
class _Attention:
    """An attention module: `path` in the model, its linears in order, the last one its output."""

    path: str
    module: nn.Module
    linears: tuple[nn.Linear, ...]
    output: nn.Linear

    @property
    def head_dim(self) -> int:
        """Width of a head's output."""
        module: Any = self.module
        return int(getattr(module, "value_dim", None) or module.head_dim)

    @property
    def heads(self) -> int:
        """How many there are; ConvBERT's output takes what convolutions give after them."""
        width = self.output.in_features
        if not hasattr(self.module, "value_dim"):
            width = min(width, self.linears[0].out_features)
        return width // self.head_dim


@contextmanager
def head_mask(model: Model, mask: Mapping[Layer, Any]) -> Iterator[None]:
    """Within the block, what each head gives is multiplied by its number: 0 leaves it out.

    Args:
        model: of any family with attention.
        mask: attention module -> a number for each head, [heads]: a list, or a tensor. The gradient
            reaches a tensor; its size there says how much a head matters.

    Raises:
        ModelError: a module that there is not, or another number of heads.
    """
    found = _attentions(model)
    with ExitStack() as hooks:
        for layer, numbers in mask.items():
            _, one = _named(found, layer, model)
            row = torch.as_tensor(numbers)
            if row.shape != (one.heads,):
                raise ModelError(
                    f"the mask has the shape {list(row.shape)}, but there are {one.heads} heads",
                    where=one.path,
                )
            hook = one.output.register_forward_pre_hook(_Scale(row, one.head_dim))
            hooks.callback(hook.remove)
        yield


class _Scale:
    """Multiplies each head's part of an output linear's input."""

    def __init__(self, numbers: torch.Tensor, head_dim: int) -> None:
        self.numbers, self.head_dim = numbers, head_dim

    def __call__(self, module: nn.Module, given: tuple[torch.Tensor, ...]) -> torch.Tensor:
        x = given[0]
        factors = self.numbers.to(x).repeat_interleave(self.head_dim)
        return x * nn.functional.pad(factors, (0, x.shape[-1] - len(factors)), value=1.0)


def prune_heads(model: Model, heads: Mapping[Layer, Collection[int]]) -> Model:
    """Take heads out of a model, in place: their rows of the linears that make queries, keys and
    values, and their columns of the output's. What is left is what a `head_mask` of 0 gives.

    The config says which heads are gone, under `pruned_heads`, so that the model can be saved and
    loaded. Several calls add up; heads keep their first numbers. Where queries share a key head,
    all of them go, and that with them.

    Args:
        model: of a family whose queries, keys and values come from linears of their own.
        heads: attention module -> heads.

    Returns:
        the same model

    Raises:
        ModelError: fused or quantized linears, other parameters for each head, no such module or
            head, some of the heads that share a key head, or all heads of a module.
    """
    found = _attentions(model)
    for one in found.values():
        _check_split(one, model)
    pruned = {key: sorted(gone) for key, gone in (model.config.extra.get(PRUNED) or {}).items()}
    plan = []
    for layer, asked in heads.items():
        key, one = _named(found, layer, model)
        gone = set(pruned.get(key, ()))
        total = one.heads + len(gone)
        if not all(0 <= head < total for head in asked):
            raise ModelError(f"heads are numbered 0 to {total - 1}", where=one.path)
        pruned[key] = sorted(gone | set(asked))
        left = [head for head in range(total) if head not in gone]
        kept = [place for place, head in enumerate(left) if head not in asked]
        plan.append((one, kept, _kept_key_heads(one, kept)))
    for one, kept, kept_keys in plan:
        query, key_linear, value, output = one.linears
        _cut(query, kept, one.head_dim, 0)
        _cut(key_linear, kept_keys, one.head_dim, 0)
        _cut(value, kept_keys, one.head_dim, 0)
        _cut(output, kept, one.head_dim, 1)
    extra = {**model.config.extra, PRUNED: pruned}
    model.config = model.body.config = model.config.replace(extra=extra)
    return model


def prune_as_declared(model: Model) -> None:
    """Take out the heads that the config of a new model says are gone, before weights are loaded.

    Raises:
        ModelError: as `prune_heads`, or `pruned_heads` is no mapping of lists.
    """
    declared = model.config.extra.get(PRUNED)
    if not declared:
        return
    lists = isinstance(declared, dict) and all(
        isinstance(heads, list) and all(type(head) is int for head in heads)
        for heads in declared.values()
    )
    if not lists:
        raise ModelError(
            f"{PRUNED} must map layers to lists of heads", where=f"{WHERE}, key {PRUNED}"
        )
    model.config = model.body.config = model.config.replace(
        extra={key: value for key, value in model.config.extra.items() if key != PRUNED}
    )
    prune_heads(model, declared)


def _attentions(model: Model) -> dict[str, _Attention]:
    """The attention modules of a model by their paths, in order."""
    found = {}
    for path, module in model.named_modules():
        if not any(isinstance(child, Attend) for child in module.children()):
            continue
        linears = tuple(child for child in module.children() if hasattr(child, "in_features"))
        parent = model.get_submodule(path.rpartition(".")[0])
        after = getattr(parent, "output", None)
        beside = getattr(after, "dense", after if isinstance(after, nn.Linear) else None)
        if beside is None and not linears:
            continue  # XLNet's projections are parameters of the attention itself
        output = (
            linears[-1] if beside is None else beside
        )  # of BERT and LED, it is beside the attention
        found[path] = _Attention(
            path, module, linears if beside is None else (*linears, beside), output
        )
    return found


def _named(found: Mapping[str, _Attention], layer: Layer, model: Model) -> tuple[str, _Attention]:
    """An attention module, and its key in config.json."""
    prefix, name = f"{model.base()}.", str(layer)
    numbered = not isinstance(model.body, EncoderDecoder)
    known = {
        str(number) if numbered else path.removeprefix(prefix): one
        for number, (path, one) in enumerate(found.items())
    }
    if name not in known:
        if not known:
            raise ModelError(
                f"{model.config.model_type} has no attention whose heads can be told apart",
                where=type(model).__name__,
            )
        names = known if not numbered else (f"0 to {len(known) - 1}",)
        raise ModelError(f"there is no attention {name!r}", where="layer", fix=hint(name, names))
    return name, known[name]


def _check_split(one: _Attention, model: Model) -> None:
    """Refuse attention of which a head is not some rows of its linears."""
    family = model.config.model_type
    if len(one.linears) < 3:
        raise ModelError(
            f"the attention of {family} makes queries, keys and values by one fused linear",
            where=one.path,
            fix="its heads can be masked: head_mask",
        )
    if not all(isinstance(each, nn.Linear) for each in one.linears):
        raise ModelError("a linear is quantized or was replaced; its heads stay", where=one.path)
    own = [name for name, _ in one.module.named_parameters(recurse=False)]
    for name, child in one.module.named_children():
        # A norm of each head alone has one head's width; ALBERT's LayerNorm is of the residual.
        apart = all(each.shape == (one.head_dim,) for each in child.parameters())
        if child not in one.linears and not apart and name != "LayerNorm":
            own.append(name)
    split = len(one.linears) == 4 and not own
    if split:
        query, key, value, output = one.linears
        split = (
            query.in_features == key.in_features == value.in_features
            and key.out_features == value.out_features
            and query.out_features == output.in_features
        )
    if not split:
        raise ModelError(
            f"the attention of {family} has parameters of heads beside its linears"
            + (f": {', '.join(own)}" if own else ""),
            where=one.path,
            fix="its heads can be masked: head_mask",
        )


def _kept_key_heads(one: _Attention, kept: list[int]) -> list[int]:
    """The key heads of the query heads that stay.

    Raises:
        ModelError: none stays, or only some of those that share a key head.
    """
    if not kept:
        raise ModelError("all heads of an attention would be gone", where=one.path, fix="keep one")
    shared = one.linears[0].out_features // one.linears[1].out_features
    groups = sorted({head // shared for head in kept})
    if len(kept) != len(groups) * shared:
        raise ModelError(
            f"each {shared} heads share a key head, and some of them would stay",
            where=one.path,
            fix="take out all heads that share one",
        )
    return groups


def _cut(linear: nn.Linear, heads: list[int], width: int, dim: int) -> None:
    """Keep the rows (dim 0) or columns (dim 1) of some heads."""
    places = [head * width + place for head in heads for place in range(width)]
    index = torch.tensor(places, device=linear.weight.device)
    linear.weight = _selected(linear.weight, index, dim)
    if dim == 0:
        linear.out_features = len(places)
        if linear.bias is not None:
            linear.bias = _selected(linear.bias, index, 0)
    else:
        linear.in_features = len(places)


def _selected(parameter: torch.Tensor, index: torch.Tensor, dim: int) -> nn.Parameter:
    values = parameter.detach().index_select(dim, index)
    return nn.Parameter(values, requires_grad=parameter.requires_grad)
