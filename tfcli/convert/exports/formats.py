"""What is particular to a format of graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

    Run = Callable[[dict[str, Tensor]], dict[str, Tensor]]  # a graph: inputs to outputs

# The largest difference between a graph and its model, by the largest number of an output, that is
# let pass. Measured with the tiny models of all families on a CPU: in fp32 4e-6 at most. In half
# precision runtimes round at other places than torch: up to 5e-3 in fp16 and 4e-2 in bf16.
BOUNDS = {"F32": 1e-4, "F16": 2e-2, "BF16": 1e-1}


@dataclass(frozen=True)
class Traced:
    """A graph, before it is written.

    Args:
        program: torch.export's.
        dimensions: input -> position -> the name of a dimension that may have any size.
        outputs: their names, in order.
    """

    program: ExportedProgram
    dimensions: dict[str, dict[int, str]]
    outputs: list[str]


@dataclass(frozen=True)
class Format:
    """A format of graphs.

    Args:
        title: its name, for people.
        extra: the extra of tfcli that brings the packages; empty without any.
        packages: modules that writing and running need.
        write: makes the files in a folder.
        open: what runs the graph in a folder, and gives outputs of these names.
        bounds: code of a type -> the largest difference that is let pass.
        rows: the size of every batch, where it is not free.
        longest: tokens of a text, at most; None: what the model takes.
        cannot_run: codes of the types that a CPU cannot run in this format.
    """

    title: str
    extra: str
    packages: tuple[str, ...]
    write: Callable[[Traced, Path], list[Path]]
    open: Callable[[Path, list[str]], Run]
    bounds: Mapping[str, float] = field(default_factory=lambda: BOUNDS)
    rows: int | None = None
    longest: int | None = None
    cannot_run: tuple[str, ...] = ()

    def bound(self, types: Iterable[str]) -> float:
        """The largest difference that is let pass in a model with tensors of these types."""
        return max((self.bounds[code] for code in types if code in self.bounds), default=0.0)

    def require(self) -> None:
        """Look for the packages, without importing them.

        Raises:
            WorkError: one is missing.
        """
        for package in self.packages:
            if find_spec(package) is None:
                raise WorkError(
                    f"{self.title} needs the package {package}",
                    fix=f"pip install 'tfcli[{self.extra}]'",
                )
