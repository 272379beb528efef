"""What was found in a checkpoint of any container, in the container's own names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfcli.checkpoints.io.header import TensorInfo
from tfcli.inspect.spec import AdapterFacts, GGUFFacts, Quantization, TensorLine, TokenizerFacts


@dataclass(frozen=True)
class Stored:
    """What was found.

    Args:
        kind: the container.
        path: the folder or file, or the hub id that was read from afar.
        tensors: as they are stored.
        elements: values of each type.
        files: the weight files.
        parameters: weights that the tensors stand for.
        logical: whether these are the model's own, see `InspectResult.parameters_counted`.
        config: the content of config.json; None where there is none.
        problem: why there is no config.
        quantization: how weights are packed.
        companions: the folder with the tokenizer.
        tokenizer: of a container that has it inside. chat_template: the same.
        gguf: what a GGUF file says of itself.
        adapter: what an adapter is.
        beside: what is no weight -> what it is.
    """

    kind: str
    path: Path | str
    tensors: list[TensorLine]
    elements: dict[str, int]
    files: tuple[Path, ...]
    parameters: int
    logical: bool = True
    config: dict[str, Any] | None = None
    problem: str | None = None
    quantization: Quantization | None = None
    companions: Path | None = None
    tokenizer: TokenizerFacts | None = None
    chat_template: bool = False
    gguf: GGUFFacts | None = None
    adapter: AdapterFacts | None = None
    beside: Mapping[str, str] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors."""
        return sum(tensor.bytes for tensor in self.tensors)


def lines_of(infos: Iterable[TensorInfo]) -> tuple[list[TensorLine], dict[str, int]]:
    """A line for every name, and the values of each type, the most frequent first."""
    parts: dict[str, list[TensorInfo]] = {}
    for info in infos:
        parts.setdefault(info.name, []).append(info)
    elements: dict[str, int] = {}
    lines = []
    for name, found in parts.items():
        first = found[0]
        elements[first.dtype] = elements.get(first.dtype, 0) + sum(i.elements for i in found)
        size = sum(info.nbytes for info in found)
        lines.append(
            TensorLine(
                name=name,
                dtype=first.dtype,
                shape=list(first.shape),
                bytes=size,
                parts=len(found),
            )
        )
    return lines, dict(sorted(elements.items(), key=lambda item: -item[1]))
