"""Which tensors of a checkpoint become which tensors of a GGUF file, and the other way round."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tfcli.checkpoints.dtypes import FLOATS
from tfcli.checkpoints.header import TensorInfo
from tfcli.checkpoints.strict_json import short
from tfcli.errors import UsageError, WorkError, hint
from tfcli.gguf.names import EXTRA, stays_single
from tfcli.gguf.rules import Change, Dialect, Rule, Transpose
from tfcli.gguf.types import BY_NAME, WRITABLE

if TYPE_CHECKING:
    from torch import Tensor


class Source(Protocol):
    """Tensors by name, as `TensorSource` has them."""

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""

    def info(self, name: str) -> TensorInfo:
        """What the header says of a tensor."""

    def __getitem__(self, name: str) -> Tensor:
        """A tensor."""


@dataclass(frozen=True)
class Target:
    """A tensor of a GGUF file and what it is made of.

    Args:
        name: in GGUF.
        dtype: the type to write.
        shape: in elements, the slowest dimension first.
        sources: the Hugging Face tensors in it, in the order of a stack.
        rule: how they correspond.
        note: why the type is not the one that was asked for; empty where it is.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    sources: tuple[str, ...]
    rule: Rule
    note: str = ""

    @property
    def nbytes(self) -> int:
        """The bytes of its data."""
        width = self.shape[-1] if self.shape else 1
        rows = 1
        for size in self.shape[:-1]:
            rows *= size
        return rows * BY_NAME[self.dtype].row_bytes(width)


@dataclass(frozen=True)
class Plan:
    """What a conversion to GGUF does with every tensor.

    Args:
        targets: what is written, in order.
        skipped: Hugging Face name -> why it is not.
        bare: the names lack the body's prefix.
        tied: the output matrix that is stored although it is the embedding; it is left out.
    """

    targets: list[Target]
    skipped: dict[str, str] = field(default_factory=dict)
    bare: bool = False
    tied: str | None = None


TypeOf = Callable[[str, int, int], tuple[str, str]]


def type_chooser(kind: str, overrides: Sequence[tuple[str, str]]) -> TypeOf:
    """Which type a tensor gets: (GGUF name, dimensions, row width) -> (type, note).

    Args:
        kind: the type of most tensors.
        overrides: (regular expression found in the GGUF name, type); the first that fits counts.

    Raises:
        UsageError: a type that is not written, or no regular expression.
    """
    rules = []
    for pattern, name in (*overrides, ("", kind)):
        if name.upper() not in WRITABLE:
            raise UsageError(
                f"{name!r} is no type that can be written", fix=hint(name.upper(), WRITABLE)
            )
        try:
            rules.append((re.compile(pattern), name.upper()))
        except re.error as error:
            raise UsageError(f"{pattern!r} is no regular expression: {error}") from None

    def choose(name: str, dimensions: int, width: int) -> tuple[str, str]:
        if stays_single(name, dimensions):
            return "F32", ""
        chosen = next(kind for pattern, kind in rules if pattern.search(name))
        if width % BY_NAME[chosen].block == 0:
            return chosen, ""
        return "F16", f"rows of {width} do not fill {chosen}'s blocks"

    return choose


def common_type(infos: Iterable[TensorInfo]) -> str:
    """The floating type that most bytes have; F32 where there is none."""
    held: Counter[str] = Counter()
    for info in infos:
        if info.dtype in ("F32", "F16", "BF16"):
            held[info.dtype] += info.nbytes
    return held.most_common(1)[0][0] if held else "F32"


def plan_targets(source: Source, dialect: Dialect, config: Any, choose: TypeOf, where: str) -> Plan:
    """Give every tensor of a checkpoint its place.

    Raises:
        WorkError: a tensor that has none, one that is missing, or one that has no plain numbers.
    """
    bare = not any(name.startswith(dialect.prefix) for name in source.names)
    skipped: dict[str, str] = {}
    groups: dict[str, list[tuple[int, str, Rule]]] = {}
    tied = dialect.head if config.tie_word_embeddings else None
    for name in source.names:
        if name == tied:
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
        if source.info(name).dtype not in FLOATS:
            raise WorkError(
                f"{short(name)} holds {source.info(name).dtype} values, no plain numbers",
                where=where,
                fix="dequantize the checkpoint first",
            )
        groups.setdefault(rule.name(rule.gguf, places), []).append(
            (int(places.get("e") or 0), name, rule)
        )
    targets = [_target(name, group, source, config, choose) for name, group in groups.items()]
    _require_complete(groups, config, dialect, where)
    return Plan(targets, skipped, bare, tied if tied in source.names else None)


def _target(
    name: str,
    group: list[tuple[int, str, Rule]],
    source: Source,
    config: Any,
    choose: TypeOf,
) -> Target:
    rule = group[0][2]
    group = sorted(group, key=lambda item: item[0])
    shapes = {source.info(hf).shape for _, hf, _ in group}
    where = str(source.info(group[0][1]).file)
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
    return Target(name, dtype, shape, tuple(hf for _, hf, _ in group), rule, note)


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


@dataclass(frozen=True)
class Origin:
    """Where a Hugging Face tensor comes from in a GGUF file.

    Args:
        name: in the checkpoint.
        stored: in GGUF.
        index: position in a stack; None: the whole tensor.
        shape: in the checkpoint.
        change: how the values differ.
    """

    name: str
    stored: str
    index: int | None
    shape: tuple[int, ...]
    change: Change | None


def plan_origins(
    tensors: Mapping[str, TensorInfo], dialect: Dialect, bare: bool, where: str
) -> list[Origin]:
    """Give every tensor of a GGUF file its place in a checkpoint.

    Raises:
        WorkError: a tensor that has none.
    """
    found = []
    for name, info in tensors.items():
        if name in EXTRA:
            continue
        match = dialect.of_gguf(name)
        if match is None:
            raise WorkError(
                f"the tensor {short(name)} has no place in a {dialect.model_type} checkpoint",
                where=where,
            )
        rule, places = match
        count = info.shape[0] if rule.stacks else 1
        shape = info.shape[1:] if rule.stacks else info.shape
        if isinstance(rule.change, Transpose):
            shape = tuple(reversed(shape))
        for index in range(count):
            hf = rule.name(rule.hf, {**places, "e": str(index)})
            hf = hf.removeprefix(dialect.prefix) if bare and hf != dialect.head else hf
            place = index if rule.stacks else None
            found.append(Origin(hf, name, place, shape, rule.change))
    return found
