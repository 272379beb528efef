"""Which tensors of a checkpoint become which tensors of a GGUF file."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.gguf.choose import TypeOf
from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.rules import AddOne, Change, Dialect, Rule, Transpose
from tfcli.checkpoints.gguf.types import BY_NAME
from tfcli.checkpoints.io.dtypes import FLOATS
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Target:
    """A tensor of a GGUF file and what it is made of.

    Args:
        name: in GGUF.
        dtype: the type to write.
        shape: in elements, the slowest dimension first.
        sources: the stored tensors in it, in the order of a stack.
        source_dtype: their type.
        action: `copied` bit for bit, `converted` to another type, or `made` by a computation.
        how: what is done to their values; empty where they are taken as they are.
        note: why the type is not the one that was asked for; empty where it is.
        part_bytes: the largest of `parts`, in bytes.
        parts: gives what is written, in order: values, or the bytes of quantized rows (uint8) that
            are kept. May be called again.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    sources: tuple[str, ...]
    source_dtype: str
    action: Literal["copied", "converted", "made"]
    how: str
    note: str
    part_bytes: int
    parts: Callable[[], Iterable[Tensor]]

    @property
    def width(self) -> int:
        """Elements of a row."""
        return self.shape[-1] if self.shape else 1

    @property
    def nbytes(self) -> int:
        """The bytes of its data."""
        return math.prod(self.shape[:-1]) * BY_NAME[self.dtype].row_bytes(self.width)

    @property
    def kept(self) -> bool:
        """Whether `parts` are the bytes of quantized rows."""
        return self.action == "copied" and not BY_NAME[self.dtype].plain


@dataclass(frozen=True)
class ToGGUF:
    """A GGUF file that is planned: headers were read, values were not.

    Args:
        path: the source.
        targets: what is written, in order.
        metadata: the file's keys, but for those that depend on values.
        late: gives these.
        skipped: tensor of the source -> why it is not written.
        notes: what the user should know.
    """

    path: Path
    targets: list[Target]
    metadata: dict[str, Value]
    late: Callable[[], dict[str, Value]]
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors in the file."""
        return sum(target.nbytes for target in self.targets)

    @property
    def largest(self) -> int:
        """The bytes of the largest tensor that is in memory at once."""
        return max((target.part_bytes for target in self.targets), default=0)


@dataclass(frozen=True)
class Plan:
    """Where the tensors of a checkpoint go.

    Args:
        targets: what is written, in order.
        skipped: Hugging Face name -> why it is not.
        more: GGUF name -> the tensor whose values are stored plus one.
        bare: the names lack the body's prefix.
        tied: the output matrix that is stored although it is the embedding, and the embedding.
    """

    targets: list[Target]
    skipped: dict[str, str]
    more: dict[str, TensorEntry]
    bare: bool
    tied: tuple[TensorEntry, TensorEntry] | None


def plan_targets(view: Checkpoint, dialect: Dialect, config: Any, choose: TypeOf) -> Plan:
    """Give every tensor of a checkpoint its place.

    Raises:
        WorkError: a tensor that has none, one that is missing, or one that has no plain numbers.
    """
    where = str(view.path)
    bare = not any(name.startswith(dialect.prefix) for name in view.tensors)
    skipped: dict[str, str] = {}
    groups: dict[str, list[tuple[int, TensorEntry, Rule]]] = {}
    head = dialect.head if config.tie_word_embeddings else None
    for tensor in view:
        name = tensor.name
        if name == head:
            continue
        whole = dialect.prefix + name if bare and name != dialect.head else name
        found = dialect.of_hf(whole)
        reason = dialect.why_dropped(whole)
        if found is None and reason is None:
            raise WorkError(
                f"the tensor {short(name)} has no place in GGUF's {dialect.arch}",
                where=where,
                fix="is the model of this type, and not quantized or an adapter?",
            )
        if found is None:
            skipped[name] = str(reason)
            continue
        rule, places = found
        if tensor.dtype not in FLOATS:
            raise WorkError(
                f"{short(name)} holds {tensor.dtype} values, no plain numbers",
                where=where,
                fix="dequantize the checkpoint first",
            )
        groups.setdefault(rule.name(rule.gguf, places), []).append(
            (int(places.get("e") or 0), tensor, rule)
        )
    targets = [_target(name, group, config, choose, where) for name, group in groups.items()]
    _require_complete(groups, config, dialect, where)
    more = {
        name: group[0][1]
        for name, group in groups.items()
        if isinstance(group[0][2].change, AddOne)
    }
    tied = None
    if head is not None and head in view.tensors:
        tied = (view.tensors[head], groups["token_embd.weight"][0][1])
        skipped[head] = "is the embedding, which stands for it"
    return Plan(targets, skipped, more, bare, tied)


def _target(
    name: str,
    group: list[tuple[int, TensorEntry, Rule]],
    config: Any,
    choose: TypeOf,
    where: str,
) -> Target:
    rule = group[0][2]
    group = sorted(group, key=lambda item: item[0])
    tensors = tuple(tensor for _, tensor, _ in group)
    shapes = {tensor.shape for tensor in tensors}
    if len(shapes) > 1:
        raise WorkError(f"the tensors of {name} differ in shape", where=where)
    shape = shapes.pop()
    if isinstance(rule.change, Transpose):
        shape = tuple(reversed(shape))
    if rule.stacks:
        count = config.num_experts
        if [place for place, _, _ in group] != list(range(count)):
            raise WorkError(
                f"{name} needs {count} experts, of which {len(group)} are there", where=where
            )
        shape = (count, *shape)
    dtype, note = choose(name, len(shape), shape[-1] if shape else 1)
    held = tensors[0].stored or tensors[0].dtype
    steps = [tensors[0].how, f"{len(tensors)} stacked" if rule.stacks else ""]
    steps.append("" if rule.change is None else type(rule.change).__name__.lower())
    made = any(steps)
    return Target(
        name,
        dtype,
        shape,
        tuple(source for tensor in tensors for source in tensor.sources),
        held,
        "made" if made else "copied" if held == dtype else "converted",
        ", ".join(filter(None, steps)),
        note,
        tensors[0].nbytes,
        partial(_parts, tensors, rule.change, config),
    )


def _parts(tensors: Sequence[TensorEntry], change: Change | None, sizes: Any) -> Iterator[Tensor]:
    for tensor in tensors:
        values = tensor.read()
        yield values if change is None else change.write(values, sizes)


def _require_complete(groups: Mapping[str, Any], config: Any, dialect: Dialect, where: str) -> None:
    """Every layer has the tensors that the first one has, and the ends are there."""
    layers: dict[int, set[str]] = {}
    for name in groups:
        if match := re.match(r"blk\.(\d+)\.", name):
            layers.setdefault(int(match[1]), set()).add(name[match.end() :])
    expected = config.num_hidden_layers
    if sorted(layers) != list(range(expected)):
        raise WorkError(
            f"config.json has {expected} layers, the weights have {len(layers)}", where=where
        )
    most = set().union(*layers.values()) if layers else set()
    for layer, names in layers.items():
        if names != most:
            lacking = sorted(most - names)[0]
            raise WorkError(f"layer {layer} lacks what other layers have: {lacking}", where=where)
    ends = {rule.gguf.replace("{p}", "weight") for rule in dialect.rules if "{i}" not in rule.gguf}
    if config.tie_word_embeddings or dialect.head is None:
        ends.discard("output.weight")
    for name in sorted(ends - set(groups)):
        raise WorkError(f"no tensor for {name} is there", where=where)
