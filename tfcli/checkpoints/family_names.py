"""One spelling: an opened checkpoint's tensors under its family's names, whoever wrote them.

Trainers put the model into other modules, transformers 5 keeps experts in one tensor in memory, MLX
turns some axes, and of tensors that are one by the config any may be the stored one. Everything
after this sees the names and shapes of the hub.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.expected import Expected, expected
from tfcli.checkpoints.io.file_tensor import FileTensor
from tfcli.checkpoints.plain_names import is_plain_decoder
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.trainer_folders import unwrap
from tfcli.errors import WorkError
from tfcli.models.errors import TooLargeError

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[str, TensorEntry]

# Stacked experts: in transformers 5's memory the first two of a layer are one tensor.
_STACK = re.compile(r"(.*)\.(?:experts|switch_mlp)\.(gate_up|gate|up|down)_proj(?:\.weight)?")
_LEAVES = {"gate": ("gate_proj", "w1"), "up": ("up_proj", "w3"), "down": ("down_proj", "w2")}
_LATENT = (".embed_q.weight", ".unembed_out.weight")  # how MLX cuts DeepSeek's kv_b_proj
_VALUES = re.compile(r"v_head\.(summary\.)?(weight|bias)")  # trl's, beside a language model
_ADAPTER = re.compile(r"\.(lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector|ia3_l)\b")


def in_family_names(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with its family's names and axes; as it is, if the family is not known.

    Raises:
        WorkError: two tensors of one name, or an adapter's tensors among the model's.
    """
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    if not checkpoint.config or is_plain_decoder(checkpoint.config, shapes):
        return checkpoint
    tensors = _unwrapped(checkpoint.tensors, checkpoint.config)
    try:
        known = expected(checkpoint.config, shapes)
    except TooLargeError:  # one part of many, such as a shard: the names stay as they are
        known = None
    if known is None:
        return replace(checkpoint, tensors=tensors)
    values = [name for name in tensors if _VALUES.fullmatch(name)]
    tensors = {name: tensor for name, tensor in tensors.items() if name not in values}
    tensors = _without_outer_modules(_without_inner_module(tensors, known), known)
    tensors = _unwrapped(tensors, checkpoint.config)
    _refuse_adapter(tensors, checkpoint)
    tensors = _renamed(tensors, known.spelt)
    tensors = _single_experts(tensors, known)
    tensors = _joined_latent(tensors, known)
    tensors = _turned_back(tensors, known)
    tensors = _one_table(tensors, known)
    tensors = _with_group_order(tensors, checkpoint, known)
    tensors = _with_scale_axes(tensors, known)
    unused = {**checkpoint.unused, **dict.fromkeys(values, "the value head of a trainer")}
    for name in _zero_biases(tensors, known):
        del tensors[name]
        unused[name] = "zeros: the model has no such bias"
    return replace(checkpoint, tensors=tensors, unused=unused)


def _renamed(tensors: Mapping[str, TensorEntry], name_of: Callable[[str], str | None]) -> Tensors:
    found: Tensors = {}
    for name, tensor in tensors.items():
        spelt = name_of(name) or name
        if spelt in found:
            first = found[spelt].sources[0]
            raise WorkError(f"{short(first)} and {short(name)} are both {short(spelt)}")
        found[spelt] = tensor if spelt == name else replace(tensor, name=spelt)
    return found


def _without_outer_modules(tensors: Tensors, known: Expected) -> Tensors:
    """Take away what stands before all names, whatever it is called, down to the family's."""
    names = {name: name for name in tensors}
    while names and not _any_known(names.values(), known):
        tops = {name.partition(".")[0] for name in names.values()}
        if len(tops) > 1 or not all("." in name for name in names.values()):
            return tensors
        names = {stored: name.partition(".")[2] for stored, name in names.items()}
    return _renamed(tensors, names.get)


def _without_inner_module(tensors: Tensors, known: Expected) -> Tensors:
    """Take away a module that stands inside of names, whatever it is called, such as the
    `language_model` of a model that sees. Every name that is not the family's must have it, and be
    one of the family's without it.
    """
    odd = [n for n in tensors if not _is_known(n, known) and not known.reason_to_ignore(n)]
    if not odd:
        return tensors
    for module in odd[0].split(".")[:-1]:
        names = {name: _without(name, module) for name in odd}
        new = set(names.values()) - tensors.keys()
        if len(new) == len(odd) and all(_is_known(name, known) for name in new):
            return _renamed(tensors, names.get)
    return tensors


def _without(name: str, module: str) -> str:
    parts = name.split(".")
    return ".".join(part for part in parts if part != module)


def _is_known(name: str, known: Expected) -> bool:
    return known.place(known.spelt(name)) is not None


def _unwrapped(tensors: Mapping[str, TensorEntry], config: Mapping[str, Any]) -> Tensors:
    return _renamed(tensors, unwrap(tensors, config).get)


def _any_known(names: Iterable[str], known: Expected) -> bool:
    spelt = (known.spelt(name) for name in names)
    return any(known.place(name) or (known.prefix + name) in known.shapes for name in spelt)


def _refuse_adapter(tensors: Tensors, checkpoint: Checkpoint) -> None:
    odd = next((name for name in tensors if _ADAPTER.search(name)), None)
    if odd is not None:
        raise WorkError(
            f"{short(odd)} belongs to an adapter that is not merged into the model",
            where=str(checkpoint.path),
            fix="save the adapter alone (PEFT's save_pretrained) and use tfcli merge, or save "
            "the model after merge_and_unload",
        )


def _single_experts(tensors: Tensors, known: Expected) -> Tensors:
    """Experts that are stacked in one tensor, as one tensor each."""
    found: Tensors = {}
    shelf = _Shelf()
    for name, tensor in tensors.items():
        match = None if known.place(name) else _STACK.fullmatch(name)
        parts = [tensor]
        if match is not None:
            parts = _parts_of_stack(tensor, match[1], match[2], known, shelf)
        for part in parts:
            if part.name in found:
                raise WorkError(f"{short(name)} holds {short(part.name)}, which is there itself")
            found[part.name] = part
    return found


def _parts_of_stack(
    tensor: TensorEntry, block: str, kind: str, known: Expected, shelf: _Shelf
) -> list[TensorEntry]:
    kinds = ("gate", "up") if kind == "gate_up" else (kind,)
    if len(tensor.shape) != 3 or tensor.shape[1] % len(kinds):
        return [tensor]
    names = [_expert(block, part, known) for part in kinds]
    rows = tensor.shape[1] // len(kinds)
    found = []
    for number in range(tensor.shape[0]):
        for position, name in enumerate(names):
            if name is None:
                return [tensor]
            part = slice(position * rows, (position + 1) * rows)
            found.append(
                replace(
                    tensor,
                    name=name.replace("*", str(number)),
                    shape=(rows, tensor.shape[2]),
                    how=", ".join(filter(None, (tensor.how, "cut from stacked experts"))),
                    read=tensor.read.select(number).rows(part.start, part.stop)
                    if isinstance(tensor.read, FileTensor)
                    else partial(shelf.cut, tensor, number, part),
                )
            )
    return found


def _expert(block: str, kind: str, known: Expected) -> str | None:
    """The name of an expert's weight, with a star for its number."""
    for leaf in _LEAVES[kind]:
        if known.place(f"{block}.experts.0.{leaf}.weight"):
            return f"{block}.experts.*.{leaf}.weight"
    return None


class _Shelf:
    """Keeps the stack that was cut last, for those that are read or made whole: they are cut in
    turn."""

    def __init__(self) -> None:
        self._held: tuple[TensorEntry, Tensor] | None = None

    def cut(self, stack: TensorEntry, number: int, rows: slice) -> Tensor:
        """The rows of one expert."""
        if self._held is None or self._held[0] is not stack:
            self._held = None
            self._held = (stack, stack.read())
        return self._held[1][number, rows]


def _joined_latent(tensors: Tensors, known: Expected) -> Tensors:
    """The two halves of latent attention's second matrix, which MLX keeps for each head, as one."""
    keys, values = _LATENT
    found = dict(tensors)
    for name, first in tensors.items():
        whole = name.removesuffix(keys) + ".kv_b_proj.weight"
        second = tensors.get(name.removesuffix(keys) + values)
        if not name.endswith(keys) or second is None or known.place(whole) is None:
            continue
        if len(first.shape) != 3 or len(second.shape) != 3:
            continue
        rows = first.shape[0] * (first.shape[2] + second.shape[1])
        del found[second.name]
        found = {
            (whole if key == name else key): (
                replace(
                    first,
                    name=whole,
                    shape=(rows, first.shape[1]),
                    sources=(*first.sources, *second.sources),
                    how="heads put together",
                    read=partial(_join_heads, first, second),
                )
                if key == name
                else tensor
            )
            for key, tensor in found.items()
        }
    return found


def _join_heads(keys: TensorEntry, values: TensorEntry) -> Tensor:
    import torch

    return torch.cat([keys.read().transpose(1, 2), values.read()], dim=1).flatten(0, 1)


def _turned_back(tensors: Tensors, known: Expected) -> Tensors:
    """Axes as on the hub, where all matrices of the kind that is kept transposed are not, and
    where a convolution's kernel has its axes the other way round."""
    kept = [t for name, t in tensors.items() if known.place(name) in known.transposed]
    wrong = [t for t in kept if t.shape != _shape(t, known)]
    turned = bool(wrong) and all(t.shape[::-1] == _shape(t, known) for t in kept)
    found = {}
    for name, tensor in tensors.items():
        found[name] = tensor
        wanted = _shape(tensor, known)
        if turned and known.place(name) in known.transposed and len(tensor.shape) == 2:
            found[name] = _swapped(tensor, 0, 1)
        elif (
            name.endswith("conv1d.weight")
            and tensor.shape != wanted
            and len(tensor.shape) == 3
            and (tensor.shape[0], tensor.shape[2], tensor.shape[1]) == wanted
        ):
            found[name] = _swapped(tensor, 1, 2)
    return found


def _shape(tensor: TensorEntry, known: Expected) -> tuple[int, ...] | None:
    place = known.place(tensor.name)
    return None if place is None else known.shapes[place]


def _swapped(tensor: TensorEntry, one: int, other: int) -> TensorEntry:
    shape = list(tensor.shape)
    shape[one], shape[other] = shape[other], shape[one]
    how = ", ".join(filter(None, (tensor.how, "transposed")))
    read = partial(_transpose, tensor, one, other)
    return replace(tensor, shape=tuple(shape), how=how, read=read)


def _transpose(tensor: TensorEntry, one: int, other: int) -> Tensor:
    return tensor.read().transpose(one, other).contiguous()


def _one_table(tensors: Tensors, known: Expected) -> Tensors:
    """Of tensors that are one by the config, the family's own name, where another is stored."""
    held = {known.place(name): name for name in tensors}
    names: dict[str, str] = {}
    for tied, origin in known.ties.items():  # a body's tables come before the head
        if origin not in held and tied in held:
            stored = held[tied]
            bare = not stored.startswith(known.prefix) and not _has_prefix(tensors, known)
            names[stored] = origin.removeprefix(known.prefix) if bare else origin
            held[origin] = stored
    return _renamed(tensors, names.get) if names else tensors


def _has_prefix(tensors: Tensors, known: Expected) -> bool:
    return any(name.startswith(known.prefix) for name in tensors) and not known.model.bare()


def _with_group_order(tensors: Tensors, checkpoint: Checkpoint, known: Expected) -> Tensors:
    """The order of a packed linear's groups as 32-bit numbers.

    Linears whose groups are runs of inputs may leave it out, or keep an empty tensor in its place.
    """
    quantization = checkpoint.config.get("quantization_config")
    if not isinstance(quantization, Mapping):
        return tensors
    size = quantization.get("group_size", -1)
    counted = not quantization.get("desc_act") or size == -1
    found: Tensors = {}
    for name, tensor in tensors.items():
        order = name.removesuffix("qweight") + "g_idx"
        held = tensors.get(order)
        if name.endswith(".g_idx") and tensor.dtype == "I64" and tensor.elements:
            tensor = replace(tensor, dtype="I32", how="narrowed", read=partial(_narrow, tensor))
        if not name.endswith(".g_idx") or tensor.elements:
            found[name] = tensor
        empty = held is None or not held.elements
        if name.endswith(".qweight") and counted and empty and order in known.shapes:
            inputs = known.shapes[order][0]
            how = "counted: groups are runs of inputs"
            read = partial(_groups, inputs, size)
            found[order] = TensorEntry(order, "I32", (inputs,), (name,), how, read)
    return found


def _with_scale_axes(tensors: Tensors, known: Expected) -> Tensors:
    """Scales with the axes of length 1 that the packing has: some programs leave them out."""
    found = dict(tensors)
    for name, tensor in tensors.items():
        shape = known.shapes.get(name) if name.endswith("_scale") else None
        if shape is not None and tensor.shape != shape and _long(shape) == _long(tensor.shape):
            read = partial(_shaped, tensor, shape)
            found[name] = replace(tensor, shape=shape, how="axes of length 1", read=read)
    return found


def _long(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]


def _shaped(tensor: TensorEntry, shape: tuple[int, ...]) -> Tensor:
    return tensor.read().reshape(shape)


def _narrow(order: TensorEntry) -> Tensor:
    import torch

    return order.read().to(torch.int32)


def _groups(inputs: int, size: int) -> Tensor:
    from tfcli.models.layouts.values import runs

    return runs(inputs, size)


def _zero_biases(tensors: Tensors, known: Expected) -> list[str]:
    """Biases that the model does not have and that are 0; such change nothing."""
    found = []
    for name, tensor in tensors.items():
        module = name.removesuffix("bias")
        if not name.endswith(".bias") or known.place(name) or known.reason_to_ignore(name):
            continue
        if known.place(f"{module}weight") or known.place(f"{module}qweight"):
            values = tensor.read()
            if values.numel() and not values.any():
                found.append(name)
    return found
