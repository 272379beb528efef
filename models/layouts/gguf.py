"""GGUF: a linear becomes rows of bytes, in a block type that may differ from tensor to tensor.

A GGUF file has no quantization_config; what its tensors are called and where their rows stand is
said by the container.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tfcli.models.layouts.ggml import GGML_TYPES, GGMLFormat, GGMLValues
from tfcli.models.layouts.ggml_blocks import pack_blocks, unpack_blocks
from tfcli.models.layouts.layout import Storage
from tfcli.models.layouts.packing import Packing, Part, ShapeOf
from tfcli.models.layouts.values import Format, Values


@dataclass(frozen=True)
class GGMLPacking(Packing):
    """Rows of a block type.

    Args:
        kind: the type; a key of `GGML_TYPES`.
    """

    main: ClassVar[str] = "rows"
    kind: str

    @property
    def format(self) -> GGMLFormat:
        """What it stores."""
        return GGMLFormat.of(self.kind)

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """The rows: uint8 [m, bytes of a row]."""
        kind = GGML_TYPES[self.kind]
        return {"rows": Part(torch.uint8, (out_features, in_features // kind.block * kind.nbytes))}

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs and outputs, from the shape of the rows."""
        m, width = shape("rows")
        kind = GGML_TYPES[self.kind]
        if width % kind.nbytes:
            raise ValueError(f"rows of {width} bytes are no whole blocks of {self.kind}")
        return width // kind.nbytes * kind.block, m

    def pack(self, values: Values) -> dict[str, Tensor]:
        """The rows of a weight."""
        if not isinstance(values, GGMLValues) or values.kind != self.kind:
            raise ValueError(f"these values are not of {self.kind}")
        return {"rows": pack_blocks(values)}

    def unpack(self, parts: Mapping[str, Tensor]) -> GGMLValues:
        """Undo `pack`."""
        return unpack_blocks(parts["rows"], self.kind)

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a linear of these sizes cannot be stored so."""
        block = GGML_TYPES[self.kind].block
        if in_features % block:
            return f"has {in_features} inputs, which do not fill {self.kind}'s blocks of {block}"
        return None


class GGUF(Storage):
    """One file of llama.cpp's."""

    name: ClassVar[str] = "gguf"

    @classmethod
    def refusal(cls, form: Format) -> str | None:
        """Why GGUF cannot store values of a format; None where it can."""
        return None if isinstance(form, GGMLFormat) else f"stores ggml's block types, not {form}"

    @classmethod
    def packing_for(cls, form: Format) -> Packing:
        """Rows of the format's type."""
        assert isinstance(form, GGMLFormat)
        return GGMLPacking(form.kind)
