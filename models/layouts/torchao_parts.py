"""What the packings of torchao have in common."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from tfcli.models.layouts.inputs import Inputs
from tfcli.models.layouts.packing import Packing

MAIN, SCALE, ZERO = "_weight_qdata", "_weight_scale", "_weight_zero_point"
"""What a weight's tensor subclass is flattened into, by the names in files."""


@dataclass(frozen=True)
class TorchAOPacking(Packing):
    """How one linear is stored.

    Args:
        rounded: how inputs are rounded before the product.
    """

    main: ClassVar[str] = MAIN
    sign: ClassVar[str | None] = MAIN

    rounded: Inputs | None = None

    @property
    def inputs(self) -> Inputs | None:
        """How inputs are rounded."""
        return self.rounded


@dataclass(frozen=True)
class WrittenPacking(TorchAOPacking):
    """One that is written too, with a description of it in the file's header."""

    @abstractmethod
    def told(self, in_features: int, out_features: int, dtype: str) -> dict[str, Any]:
        """The tensor subclass, as torchao describes it in the header.

        Args:
            in_features: inputs.
            out_features: outputs.
            dtype: of the dense weight, such as `bfloat16`.
        """


def dtype_of(name: str) -> dict[str, str]:
    """A type as torchao writes it into JSON."""
    return {"_type": "torch.dtype", "_data": name}
