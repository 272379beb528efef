"""Which tensors of a GGUF file become which tensors of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tfcli.checkpoints.gguf.names import EXTRA
from tfcli.checkpoints.gguf.rules import Change, Dialect, Transpose
from tfcli.checkpoints.io.header import TensorInfo
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError


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
            hf = rule.name(rule.hf, {"e": str(index), **places})
            hf = hf.removeprefix(dialect.prefix) if bare and hf != dialect.head else hf
            place = index if rule.stacks else None
            found.append(Origin(hf, name, place, shape, rule.change))
    return found
