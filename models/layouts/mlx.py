"""MLX's affine layout, which mlx-lm writes and reads.

For a linear with `n` inputs and `m` outputs, quantized to `b` bits in groups of `g` inputs:

    weight  uint32  [m, n*b/32]   levels, packed along the inputs (see `words`)
    scales  float   [m, n/g]
    biases  float   [m, n/g]

    weight[o, i] = level[o, i] * scales[o, i // g] + biases[o, i // g]

A table of `m` embeddings of width `n` is stored alike; a head that is tied to it reads the same.

Source: https://github.com/ml-explore/mlx (`mlx.core.quantize`, mode `affine`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from tfcli.models.errors import ModelError
from tfcli.models.layouts.errors import WHERE, refused
from tfcli.models.layouts.layout import Layout, Packed
from tfcli.models.layouts.offset import Offset
from tfcli.models.layouts.packing import Packing, Part, ShapeOf, exactly
from tfcli.models.layouts.values import Affine, AffineFormat, Format, Values
from tfcli.models.layouts.words import PACK, pack_padded, unpack_padded

BITS = (2, 3, 4, 5, 6, 8)
GROUP_SIZES = (32, 64, 128)
"""What MLX computes with."""

_OWN = ("bits", "group_size", "mode", "quant_method")
"""Keys of a config that are no module's name."""


@dataclass(frozen=True)
class MLXPacking(Packing):
    """The three tensors of a linear.

    Args:
        bits: one of `BITS`.
        group_size: inputs that share a scale.
        dtype: in which scales and biases are written.
    """

    main: ClassVar[str] = "weight"
    output_axes: ClassVar[Mapping[str, int]] = {"weight": 0, "scales": 0, "biases": 0}

    bits: int
    group_size: int
    dtype: torch.dtype = torch.float16

    @property
    def format(self) -> AffineFormat:
        """What it stores."""
        return AffineFormat(self.bits, self.group_size, symmetric=False)

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        shared = Part(self.dtype, (out_features, in_features // self.group_size))
        words = in_features * self.bits // PACK
        return {
            "weight": Part(torch.uint32, (out_features, words)),
            "scales": shared,
            "biases": shared,
        }

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs and outputs of a linear."""
        out_features, groups = shape("scales")
        return groups * self.group_size, out_features

    def pack(self, values: Values) -> dict[str, Tensor]:
        """The three tensors of a weight."""
        if isinstance(values, Affine):
            values = Offset.of(values)
        if not isinstance(values, Offset) or (
            (values.bits, values.group_size) != (self.bits, self.group_size)
        ):
            raise ValueError(f"values that are no levels of {self.bits} bits in such groups")
        words = pack_padded(values.levels.t(), self.bits).t().contiguous()
        return {
            "weight": words.view(torch.uint32),
            "scales": exactly(values.scales, self.dtype).contiguous(),
            "biases": exactly(values.offsets, self.dtype).contiguous(),
        }

    def unpack(self, parts: Mapping[str, Tensor]) -> Affine | Offset:
        """Undo `pack`: levels with zero points, where the offsets are whole steps."""
        words, scales = parts["weight"].contiguous().view(torch.int32), parts["scales"]
        inputs = scales.shape[1] * self.group_size
        levels = unpack_padded(words.t(), self.bits, inputs).t()
        values = Offset(levels, scales, parts["biases"], self.bits, self.group_size)
        return values.affine() or values

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a linear of these sizes cannot be stored so."""
        if in_features % self.group_size:
            return f"has {in_features} inputs, which groups of {self.group_size} do not divide"
        if in_features * self.bits % PACK:
            return f"has {in_features} inputs, which {self.bits} bits do not pack into whole words"
        return None


@dataclass(frozen=True)
class MLXLayout(Layout):
    """The object `quantization` of an MLX folder's config; `quantization_config` repeats it.

    Args:
        packing: of every linear that has none of its own.
        own: full name -> its packing; None: it is dense.
        notes: what the method says of itself.
    """

    name: ClassVar[str] = "mlx"
    quant_method: ClassVar[str] = "mlx"
    tables: ClassVar[bool] = True
    shown_by: ClassVar[tuple[str, ...]] = (".scales",)

    packing: MLXPacking
    own: Mapping[str, MLXPacking | None] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def refusal(cls, form: Format) -> str | None:
        """Why this layout cannot store values of a format."""
        if not isinstance(form, AffineFormat):
            return "it has levels with scales and offsets alone"
        if form.inputs is not None:
            return "it says nothing of inputs that are rounded"
        if form.bits not in BITS:
            return f"it has {', '.join(map(str, BITS[:-1]))} and {BITS[-1]} bits, not {form.bits}"
        if form.group_size not in GROUP_SIZES:
            return f"it has groups of 32, 64 and 128, not {form.group_size}"
        return None

    @classmethod
    def packing_for(cls, form: Format) -> MLXPacking:
        """How it stores values of a format.

        The offset of a group is its scale times its zero point. Where that is the middle level,
        a power of two, fp16 has the product of every fp16 scale; else fp32 is needed.
        """
        assert isinstance(form, AffineFormat), "what it refuses does not come here"
        dtype = torch.float16 if form.symmetric else torch.float32
        return MLXPacking(form.bits, form.group_size, dtype)

    @classmethod
    def of(cls, packed: Packed) -> MLXLayout:
        """The layout of a model that is about to be written."""
        (usual, _), *_ = Counter(packed.packings.values()).most_common(1)
        assert isinstance(usual, MLXPacking)
        own: dict[str, MLXPacking | None] = dict.fromkeys((*packed.kept, *packed.outside))
        for name, packing in packed.packings.items():
            assert isinstance(packing, MLXPacking)
            if packing != usual:
                own[name] = packing
        return cls(usual, own, notes=packed.notes)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> MLXLayout:
        """Read the object `quantization`."""
        packing = read_packing(config)
        own: dict[str, MLXPacking | None] = {}
        for name, value in config.items():
            if isinstance(value, Mapping) and name != "meta":
                own[name] = read_packing({**config, **value}, name)
            elif value is False and name not in _OWN:
                own[name] = None
        return cls(packing, own)

    def to_config(self) -> dict[str, Any]:
        """The object, in the words of mlx-lm."""
        config: dict[str, Any] = {"quant_method": "mlx", **_written(self.packing), "mode": "affine"}
        for name, packing in self.own.items():
            config[name] = False if packing is None else _written(packing)
        if self.notes:
            config["meta"] = dict(self.notes)
        return config

    def written_in(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A model's config with this one in it: MLX looks for it under a name of its own."""
        own = {key: value for key, value in self.to_config().items() if key != "quant_method"}
        return {**super().written_in(config), "quantization": own}

    @property
    def usual(self) -> MLXPacking:
        """How most linears are packed."""
        return self.packing

    def packing_of(self, name: str) -> MLXPacking | None:
        """How a linear is packed."""
        return self.own.get(name, self.packing)


def read_packing(config: Mapping[str, Any], module: str = "") -> MLXPacking:
    """The packing that an object with bits, group_size and mode means.

    Raises:
        ModelError: another mode, or numbers that are not supported.
    """
    prefix = f"{module}." if module else ""
    mode, bits, size = config.get("mode", "affine"), config.get("bits"), config.get("group_size")
    if mode != "affine":
        raise refused(f"{prefix}mode", mode, ["affine"])
    if bits not in BITS or isinstance(bits, bool):
        raise refused(f"{prefix}bits", bits, BITS)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ModelError(f"{prefix}group_size: {size!r} is not 1 or more", where=WHERE)
    return MLXPacking(bits, size)


def _written(packing: MLXPacking) -> dict[str, int]:
    return {"group_size": packing.group_size, "bits": packing.bits}
