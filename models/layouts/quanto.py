"""The layout of optimum-quanto: weights of 8, 4 and 2 bits. It is read.

For a linear with `n` inputs and `m` outputs, of 8 bits:

    weight._data         int8 or float8 [m, n]
    weight._scale        float          [m, 1]

and of 4 and 2 bits in `r` groups of `g` inputs, which quanto chooses by the number of inputs:

    weight._data._data   uint8          [ceil(r * bits / 8), g]   see `unpack`
    weight._scale        float          [r, 1]
    weight._shift        float          [r, 1]

    weight = scale * level - shift

`input_scale` and `output_scale` beside them are of activations. quanto's own folders say what is
packed in `quanto_qmap.json`, transformers' in the config.

Source: optimum-quanto 0.2.7, `tensor/qbits.py`, `tensor/packed.py`, `tensor/grouped.py`,
`nn/qmodule.py`, `models/transformers_models.py`; transformers 5.23, `QuantoConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from tfcli.models.errors import ModelError
from tfcli.models.layouts.errors import WHERE, refused
from tfcli.models.layouts.floats import FloatFormat, Scaled
from tfcli.models.layouts.layout import ReadLayout
from tfcli.models.layouts.offset import Offset
from tfcli.models.layouts.packing import Packing, Part, ShapeOf
from tfcli.models.layouts.skipping import read_names, skips, without_tied
from tfcli.models.layouts.values import Affine, AffineFormat

if TYPE_CHECKING:
    from tfcli.models.model import Model

BYTES = {
    "qint8": torch.int8,
    "qfloat8": torch.float8_e4m3fn,
    "qfloat8_e4m3fn": torch.float8_e4m3fn,
    "qfloat8_e5m2": torch.float8_e5m2,
}
"""Types with a byte for each weight."""
BITS = {"qint4": 4, "qint2": 2}
"""Types that are packed."""

MAP = "quantization_map"
"""The key of a config that holds the content of quanto_qmap.json."""

_MIDDLE = 128
_SCALE, _SHIFT = "weight._scale", "weight._shift"


@dataclass(frozen=True)
class QuantoBytes(Packing):
    """The tensors of a linear in 8 bits.

    Args:
        kind: a name of `BYTES`.
    """

    main: ClassVar[str] = "weight._data"
    sign: ClassVar[str | None] = "weight._data"
    output_axes: ClassVar[Mapping[str, int]] = {"weight._data": 0, _SCALE: 0}

    kind: str = "qint8"

    @property
    def format(self) -> AffineFormat | FloatFormat:
        """What it stores."""
        return AffineFormat(8, -1) if self.kind == "qint8" else FloatFormat(8, -1)

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        return {
            "weight._data": Part(BYTES[self.kind], (out_features, in_features)),
            _SCALE: Part(torch.float32, (out_features, 1)),
        }

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs and outputs of a linear."""
        out_features, in_features = shape("weight._data")
        return in_features, out_features

    def unpack(self, parts: Mapping[str, Tensor]) -> Affine | Scaled:
        """The values of the parts."""
        held, scales = parts["weight._data"], parts[_SCALE]
        n = held.shape[1]
        if self.kind != "qint8":
            return Scaled(held, scales, 1, n)
        zeros = torch.full_like(scales, _MIDDLE, dtype=torch.uint8)
        return Affine((held.to(torch.int16) + _MIDDLE).to(torch.uint8), scales, zeros, 8, n)

    def verify(self, parts: Mapping[str, Tensor], name: str) -> None:
        """Refuse what is no number."""
        super().verify(parts, name)
        if self.kind != "qint8" and not torch.isfinite(parts["weight._data"].float()).all():
            raise ModelError("holds what is no number", where=f"{name}.weight._data")


@dataclass(frozen=True)
class QuantoBits(Packing):
    """The tensors of a linear in 4 or 2 bits.

    Args:
        bits: 4 or 2.
        in_features: inputs of the linear, which its tensors do not say; None of no linear yet.
    """

    main: ClassVar[str] = "weight._data._data"
    sign: ClassVar[str | None] = "weight._data._data"

    bits: int = 4
    in_features: int | None = None

    @property
    def format(self) -> AffineFormat:
        """What it stores."""
        width = 128 if self.in_features is None else group_of(self.in_features)
        return AffineFormat(self.bits, width, symmetric=False)

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        width = group_of(in_features)
        rows = out_features * in_features // width
        scales = Part(torch.float32, (rows, 1))
        return {
            "weight._data._data": Part(torch.uint8, (-(-rows * self.bits // 8), width)),
            _SCALE: scales,
            _SHIFT: scales,
        }

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs, as they are known, and outputs."""
        if self.in_features is None:
            raise ValueError("the weight is cut into groups")
        rows, _ = shape(_SCALE)
        return self.in_features, rows * group_of(self.in_features) // self.in_features

    def unpack(self, parts: Mapping[str, Tensor]) -> Offset:
        """The values of the parts."""
        n, m = self.features(lambda part: tuple(parts[part].shape))
        scales, shifts = (parts[part].reshape(m, -1) for part in (_SCALE, _SHIFT))
        levels = unpack(parts["weight._data._data"], self.bits)[: len(parts[_SCALE])]
        return Offset(levels.reshape(m, n), scales, -shifts, self.bits, group_of(n))


def group_of(in_features: int) -> int:
    """Neighbours in a row that share a scale: 128, 96, 64 or 32 of more than 128 inputs, where one
    of them divides these; else the whole row."""
    if in_features <= 128:
        return in_features
    return next((size for size in (128, 96, 64, 32) if in_features % size == 0), in_features)


def unpack(packed: Tensor, bits: int) -> Tensor:
    """Levels of a matrix that was cut into as many stretches of rows as a byte has fields.

    Byte `i` holds the i-th row of each stretch, the first one's in its lowest bits; what the last
    stretch lacks is 0.

    Args:
        packed (Tensor): uint8 [rows, columns]
        bits: of a level.

    Returns:
        uint8 [rows * 8 / bits, columns]
    """
    mask = (1 << bits) - 1
    return torch.cat([packed >> at & mask for at in range(0, 8, bits)])


@dataclass(frozen=True)
class QuantoLayout(ReadLayout):
    """A quantization_config with quant_method "quanto".

    Args:
        packing: of every linear that is not skipped; None where `by_name` names all.
        by_name: full name -> its packing.
        skip: names and patterns of what stays as it is.
    """

    quant_method: ClassVar[str] = "quanto"
    shown_by: ClassVar[tuple[str, ...]] = (".weight._data", ".weight._data._data")

    packing: QuantoBytes | QuantoBits | None
    by_name: Mapping[str, QuantoBytes | QuantoBits] = field(default_factory=dict)
    skip: tuple[str, ...] = ()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> QuantoLayout:
        """Read a quantization_config, or the content of quanto_qmap.json."""
        named = config.get(MAP)
        if named is not None:
            return cls(None, _read_map(named))
        _require_no_activations("activations", config.get("activations"))
        weights = config.get("weights", "int8")
        packing = _packing("weights", f"q{weights}", weights)
        skip = read_names("modules_to_not_convert", config.get("modules_to_not_convert"))
        return cls(packing, {}, skip or ())

    @property
    def usual(self) -> QuantoBytes | QuantoBits:
        """How most linears are packed."""
        return self.packing or next(iter(self.by_name.values()))

    @property
    def unused(self) -> Mapping[str, str]:
        """Scales of activations, which quanto keeps beside every linear."""
        return {r"\.(input|output)_scale$": "a scale of activations, which are not quantized"}

    @property
    def sized_by_model(self) -> bool:
        """Groups of 4 and 2 bits do not say to which outputs they belong."""
        return any(isinstance(p, QuantoBits) for p in (self.packing, *self.by_name.values()))

    def packing_of(self, name: str) -> QuantoBytes | QuantoBits | None:
        """How a linear is packed."""
        if self.packing is None:
            return self.by_name.get(name)
        return None if skips(self.skip, name) else self.packing

    def linears(self, model: Model) -> dict[str, Packing]:
        """The linears that the config does not skip, each with its inputs; what is tied to a table
        is none of them."""
        found = without_tied(model, super().linears(model))
        for name, packing in found.items():
            if isinstance(packing, QuantoBits):
                inputs = model.get_submodule(name).in_features
                assert isinstance(inputs, int), "a layout names linears"
                found[name] = replace(packing, in_features=inputs)
        return found


def _read_map(named: Any) -> dict[str, QuantoBytes | QuantoBits]:
    if not isinstance(named, Mapping) or not named:
        raise ModelError(f"{MAP}: not a mapping of names", where=WHERE)
    found = {}
    for name, said in named.items():
        if not isinstance(said, Mapping):
            raise refused(f"{MAP}.{name}", said, ["weights and activations"])
        _require_no_activations(f"{MAP}.{name}.activations", said.get("activations"))
        weights = said.get("weights")
        if weights not in (None, "none"):
            found[name] = _packing(f"{MAP}.{name}.weights", weights, weights)
    if not found:
        raise ModelError(f"{MAP}: no weights are quantized", where=WHERE)
    return found


def _packing(key: str, kind: Any, said: Any) -> QuantoBytes | QuantoBits:
    if isinstance(kind, str) and kind in BITS:
        return QuantoBits(BITS[kind])
    if not isinstance(kind, str) or kind not in BYTES:
        raise refused(key, said, [name.removeprefix("q") for name in (*BYTES, *BITS)])
    return QuantoBytes(kind)


def _require_no_activations(key: str, said: Any) -> None:
    if said not in (None, "none"):
        raise refused(key, said, ["none: outputs that are quantized are not built"])
