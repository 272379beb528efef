"""The layout of the hqq library, which transformers and vLLM read.

A weight of `m` outputs and `n` inputs is cut into groups: neighbours in the order of its rows
(`axis` 1, a group a row of the cut matrix) or what lies `m * n / group_size` apart (`axis` 0, a
group a column of it). Beside each packed linear its sizes and options are tensors, too:

    W_q       uint8, for 3 bits int32   levels of the cut matrix, packed along its first axis
    scale     [groups, 1] or [1, groups]
    zero      like scale
    shape     int64 [2]                 outputs and inputs
    nbits, group_size, axis             int32 []
    packing, unpack_view_dtype, compute_dtype       uint8, text
    view_as_float, quant_scale, quant_zero, ...     uint8 [], yes or no

    weight = (level - zero) * scale

Source: hqq 0.2.8, `core/quantize.py`, `core/bitpack.py`, `core/utils.py`; transformers' HqqConfig
and `integrations/hqq.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from tfcli.models.errors import ModelError
from tfcli.models.layouts.errors import WHERE, refused
from tfcli.models.layouts.layout import Layout, Packed
from tfcli.models.layouts.packing import Packing, Part, PartOf, ShapeOf
from tfcli.models.layouts.skipping import without_tied
from tfcli.models.layouts.tags import tag_of
from tfcli.models.layouts.values import Affine, Format, Leveled, Values

if TYPE_CHECKING:
    from tfcli.models.model import Model

BITS = (8, 6, 5, 4, 3, 2, 1)
AXES = (0, 1)
COMPUTE = ("float16", "bfloat16", "float32")

_FIELDS = {8: (8, 1), 6: (8, 1), 5: (8, 1), 4: (4, 2), 3: (3, 10), 2: (2, 4), 1: (1, 8)}
"""Bits of a level -> bits of its field, and fields in a word, the first of them highest."""


@dataclass(frozen=True)
class HQQFormat(Format):
    """Levels with a scale and a zero point for each group, which is any number.

    Args:
        axis: 1, groups of neighbours; 0, of what lies apart.
        compute: type of scales and zero points, and of the products of readers.
        view_as_float: the words of levels are called floats in the file.
    """

    axis: int = 1
    compute: str = "float16"
    view_as_float: bool = False

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Groups run on from row to row; all must be whole."""
        count = in_features * out_features
        if self.group_size == -1 or count % self.group_size == 0:
            return None
        return f"has {count} weights, not a multiple of group_size {self.group_size}"

    def cut(self, in_features: int, out_features: int) -> tuple[int, int]:
        """Rows and columns of the matrix whose rows (axis 1) or columns (axis 0) are groups."""
        count = in_features * out_features
        if self.group_size == -1:
            return out_features, in_features
        size = self.group_size
        return (count // size, size) if self.axis == 1 else (size, count // size)

    def __str__(self) -> str:
        return f"{super().__str__()}, axis {self.axis}"


@dataclass(frozen=True)
class Strided(Leveled):
    """Groups of an affine weight that are no runs of inputs.

    The weight, cut into a matrix of other sizes, has a group for each of its columns (axis 0) or
    rows (axis 1): weight = (level - zero) * scale.

    Args:
        levels (Tensor): uint8 [m, n].
        scales (Tensor): [groups] in any float type.
        zeros (Tensor): [groups].
        axis: 0 or 1.
    """

    scales: Tensor
    zeros: Tensor
    axis: int

    def rows(self, start: int, stop: int) -> Tensor:
        """The weight of some outputs, exactly: fp32 [stop - start, n]."""
        m, n = self.shape
        groups = len(self.scales)
        place = torch.arange(start * n, stop * n, device=self.levels.device)
        group = place % groups if self.axis == 0 else place // (m * n // groups)
        group = group.view(stop - start, n)
        found = self.levels[start:stop].float()
        return found.sub_(self.zeros.float()[group]).mul_(self.scales.float()[group])


@dataclass(frozen=True)
class HQQPacking(Packing):
    """The tensors of a linear.

    Args:
        bits: of a level.
        group_size: weights that share a scale; -1 for a whole row (axis 1) or column (axis 0).
        axis: 0 or 1.
        compute: type of scales and zero points as they are written.
        view_as_float: the words of levels are called floats of this type.
    """

    main: ClassVar[str] = "W_q"
    sign: ClassVar[str | None] = "W_q"

    bits: int
    group_size: int = 64
    axis: int = 1
    compute: str = "float16"
    view_as_float: bool = False

    @property
    def format(self) -> HQQFormat:
        """What it stores."""
        return HQQFormat(self.bits, self.group_size, self.axis, self.compute, self.view_as_float)

    @property
    def word(self) -> torch.dtype:
        """What levels are packed into."""
        return torch.int32 if self.bits == 3 else torch.uint8

    @property
    def dtype(self) -> torch.dtype:
        """Of scales and zero points."""
        dtype: torch.dtype = getattr(torch, self.compute)
        return dtype

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        rows, columns = self.format.cut(in_features, out_features)
        words, dtype = -(-rows // _FIELDS[self.bits][1]), self.word
        if self.view_as_float:
            columns, dtype = columns * dtype.itemsize // self.dtype.itemsize, self.dtype
        groups = self._groups(in_features, out_features)
        scales = Part(self.dtype, (groups, 1) if self.axis == 1 else (1, groups))
        told = self._told(in_features, out_features)
        main = Part(dtype, (words, columns), open=self.view_as_float)
        found = {"W_q": main, "scale": scales, "zero": scales}
        return found | {
            name: Part(value.dtype, tuple(value.shape), open=name == "compute_dtype")
            for name, value in told.items()
        }

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Shapes do not say it: see `sizes`."""
        raise ValueError("the weight is cut")

    def sizes(self, shape: ShapeOf, part: PartOf) -> tuple[int, int]:
        """Inputs and outputs of a linear, from its tensor `shape`."""
        m, n = part("shape").tolist()
        if m < 1 or n < 1 or max(m, n) >= 1 << 31:
            raise ValueError("sizes that there are not")
        return n, m

    def pack(self, values: Values) -> dict[str, Tensor]:
        """The tensors of a weight."""
        if not isinstance(values, Affine | Strided):
            raise ValueError("values that are no levels with scales")
        m, n = values.shape
        rows, columns = self.format.cut(n, m)
        words = pack(values.levels.reshape(rows, columns), self.bits)
        if self.view_as_float:
            words = words.contiguous().view(self.dtype)
        form = self.parts(n, m)["scale"].shape
        scales = {"scale": values.scales, "zero": values.zeros}
        told = self._told(n, m)
        return {
            "W_q": words,
            **{name: value.reshape(form).to(self.dtype) for name, value in scales.items()},
            **told,
        }

    def unpack(self, parts: Mapping[str, Tensor]) -> Affine | Strided:
        """Undo `pack`."""
        m, n = parts["shape"].tolist()
        rows, columns = self.format.cut(n, m)
        _, fields = _FIELDS[self.bits]
        words = parts["W_q"].contiguous().view(self.word).view(-(-rows // fields), columns)
        levels = unpack(words, self.bits)[:rows].reshape(m, n)
        scales, zeros = parts["scale"], parts["zero"]
        groups = self._groups(n, m)
        if self.axis == 1 and groups % m == 0:
            width = n * m // groups
            form = (m, groups // m)
            return Affine(levels, scales.reshape(form), zeros.reshape(form), self.bits, width)
        return Strided(levels, scales.reshape(-1), zeros.reshape(-1), self.axis)

    def left_out(self, part: str, in_features: int, out_features: int) -> Tensor | None:
        """What older versions do not write, and what says only how the weight was made."""
        if part in ("W_q", "scale", "zero", "shape", "nbits", "axis"):
            return None
        return self._told(in_features, out_features)[part]

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a linear of these sizes cannot be stored so."""
        rows, columns = self.format.cut(in_features, out_features)
        fields = _FIELDS[self.bits][1]
        if self.bits != 3 and rows % fields:
            return f"is cut into {rows} rows, and {fields} are packed together"
        if self.view_as_float and columns * self.word.itemsize % self.dtype.itemsize:
            return f"is cut into {columns} columns, which do not fill up {self.compute}"
        return None

    def verify(self, parts: Mapping[str, Tensor], name: str) -> None:
        """Refuse what the config says otherwise, and scales that are not finite."""
        super().verify(parts, name)
        try:
            n, m = self.sizes(lambda part: tuple(parts[part].shape), parts.__getitem__)
        except ValueError as error:
            raise ModelError(str(error), where=f"{name}.shape") from None
        told = self._told(n, m)
        for part in ("nbits", "group_size", "axis", "packing", "view_as_float", *_NEVER):
            if not torch.equal(parts[part].cpu(), told[part]):
                raise ModelError(
                    f"{_said(parts[part])}, by the config it is {_said(told[part])}",
                    where=f"{name}.{part}",
                )
        rows, columns = self.format.cut(n, m)
        wanted = -(-rows // _FIELDS[self.bits][1]) * columns * self.word.itemsize
        held = parts["W_q"].numel() * parts["W_q"].element_size()
        if held != wanted:
            raise ModelError(
                f"{held} bytes, where {[m, n]} weights take {wanted}", where=f"{name}.W_q"
            )
        for part, like in self.parts(n, m).items():
            if not like.fits(tuple(parts[part].shape)):
                raise ModelError(
                    f"is {list(parts[part].shape)}, by the shape of the weight, {[m, n]}, it is "
                    f"{list(like.shape)}",
                    where=f"{name}.{part}",
                )

    def _groups(self, in_features: int, out_features: int) -> int:
        rows, columns = self.format.cut(in_features, out_features)
        return rows if self.axis == 1 else columns

    def _told(self, in_features: int, out_features: int) -> dict[str, Tensor]:
        """What is told of a weight, as tensors."""
        whole = in_features if self.axis == 1 else out_features
        fields = "3bit_32" if self.bits == 3 else f"{_FIELDS[self.bits][0]}bit_u8"
        numbers = {
            "nbits": self.bits,
            "group_size": whole if self.group_size == -1 else self.group_size,
            "axis": self.axis,
        }
        texts = {
            "packing": fields,
            "unpack_view_dtype": str(self.word),
            "compute_dtype": f"torch.{self.compute}",
        }
        answers = {
            "view_as_float": self.view_as_float,
            **dict.fromkeys(_NEVER, False),
            "encoded_state_dict": True,
            "stores_quant_config": True,
            "channel_wise": True,
            "optimize": True,
            "round_zero": self.bits == 4,
        }
        return {
            "shape": torch.tensor([out_features, in_features]),
            **{key: torch.tensor(value, dtype=torch.int32) for key, value in numbers.items()},
            **{key: torch.tensor(list(t.encode()), dtype=torch.uint8) for key, t in texts.items()},
            **{key: torch.tensor(value, dtype=torch.uint8) for key, value in answers.items()},
        }


_NEVER = ("quant_scale", "quant_zero", "offload_meta")
"""Options that are deprecated there and change the layout."""


@dataclass(frozen=True)
class HQQLayout(Layout):
    """A quantization_config with quant_method "hqq".

    Args:
        packing: of every linear that `by_tag` does not name; None where it names all that there
            are.
        by_tag: tag of a linear -> how it is packed (`dynamic_config`); see `tag_of`.
        skip: tags of linears that stay as they are (`skip_modules`).
    """

    name: ClassVar[str] = "hqq"
    quant_method: ClassVar[str] = "hqq"
    shown_by: ClassVar[tuple[str, ...]] = (".W_q",)

    packing: HQQPacking | None
    by_tag: Mapping[str, HQQPacking] = field(default_factory=dict)
    skip: tuple[str, ...] = ("lm_head",)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def refusal(cls, form: Format) -> str | None:
        """Why this layout cannot store values of a format."""
        if not isinstance(form, HQQFormat):
            return "it has groups with zero points that are any numbers, which hqq alone makes"
        return None

    @classmethod
    def packing_for(cls, form: Format) -> HQQPacking:
        """How it stores values of a format."""
        assert isinstance(form, HQQFormat), "what it refuses does not come here"
        return HQQPacking(form.bits, form.group_size, form.axis, form.compute, form.view_as_float)

    @classmethod
    def of(cls, packed: Packed) -> HQQLayout:
        """The layout of a model that is about to be written.

        Raises:
            ModelError: linears of one tag are packed in several ways, which the config cannot say.
        """
        by_tag: dict[str, HQQPacking] = {}
        for name, packing in packed.packings.items():
            assert isinstance(packing, HQQPacking)
            tag = tag_of(name)
            if by_tag.setdefault(tag, packing) != packing:
                raise ModelError(
                    f"hqq: its config says one packing for all linears named {tag}, and {name} has "
                    "another",
                    where="layout",
                    fix="quantize them alike in all blocks",
                )
        tags = dict.fromkeys(tag_of(name) for name in (*packed.kept, *packed.outside))
        skip = tuple(tag for tag in tags if tag not in by_tag)
        first = next(iter(by_tag.values()))
        if all(packing == first for packing in by_tag.values()):
            return cls(first, {}, skip, packed.notes)
        return cls(None, by_tag, skip, packed.notes)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> HQQLayout:
        """Read a quantization_config."""
        held = config.get("quant_config")
        if not isinstance(held, dict) or not held:
            raise ModelError("quant_config: not a mapping of options", where=WHERE)
        skip = config.get("skip_modules")
        skip = ["lm_head"] if skip is None else skip
        if not isinstance(skip, list) or not all(isinstance(name, str) for name in skip):
            raise ModelError("skip_modules: not a list of names", where=WHERE)
        if "weight_quant_params" in held:
            return cls(_packing(held, "quant_config"), {}, tuple(skip))
        by_tag = {tag: _packing(said, f"quant_config.{tag}") for tag, said in held.items()}
        return cls(None, by_tag, tuple(skip))

    def to_config(self) -> dict[str, Any]:
        """The quantization_config, as transformers writes an HqqConfig."""
        quant_config = (
            {tag: _options(packing) for tag, packing in self.by_tag.items()}
            if self.packing is None
            else _options(self.packing)
        )
        config = {
            "quant_config": quant_config,
            "quant_method": "hqq",
            "skip_modules": list(self.skip),
        }
        return {**config, "meta": dict(self.notes)} if self.notes else config

    @property
    def usual(self) -> HQQPacking:
        """How most linears are packed."""
        return self.packing or next(iter(self.by_tag.values()))

    def packing_of(self, name: str) -> HQQPacking | None:
        """How a linear is packed."""
        tag = tag_of(name)
        return None if tag in self.skip else self.by_tag.get(tag, self.packing)

    def linears(self, model: Model) -> dict[str, Packing]:
        """The linears that the config does not skip; what is tied to a table is none of them."""
        return without_tied(model, super().linears(model))


def pack(levels: Tensor, bits: int) -> Tensor:
    """Pack levels along the first axis.

    The rows are cut into as many stretches as a word has fields; word `i` holds the i-th row of
    each of them, the first one's in its highest bits.

    Args:
        levels (Tensor): uint8 [rows, columns]; rows that are missing for 3 bits are zeros.
        bits: of a level.

    Returns:
        uint8 [rows / fields, columns], for 3 bits int32.
    """
    width, fields = _FIELDS[bits]
    levels = levels.int()
    if len(levels) % fields:
        levels = torch.nn.functional.pad(levels, (0, 0, 0, -len(levels) % fields))
    stretches = levels.view(fields, -1, levels.shape[1])
    words = torch.zeros_like(stretches[0])
    for at, stretch in enumerate(stretches):
        words |= stretch << width * (fields - 1 - at)
    return words if bits == 3 else words.to(torch.uint8)


def unpack(words: Tensor, bits: int) -> Tensor:
    """Undo `pack`: uint8 [words * fields, columns]."""
    width, fields = _FIELDS[bits]
    if fields == 1:
        return words
    mask = (1 << width) - 1
    stretches = [(words >> width * (fields - 1 - at)) & mask for at in range(fields)]
    return torch.cat(stretches).to(torch.uint8)


def _options(packing: HQQPacking) -> dict[str, Any]:
    """In the words of hqq's BaseQuantizeConfig."""
    return {
        "weight_quant_params": {
            "nbits": packing.bits,
            "channel_wise": True,
            "group_size": None if packing.group_size == -1 else packing.group_size,
            "optimize": True,
            "round_zero": packing.bits == 4,
            "axis": packing.axis,
            "view_as_float": packing.view_as_float,
        },
        "scale_quant_params": None,
        "zero_quant_params": None,
        "offload_meta": False,
    }


def _packing(said: Any, key: str) -> HQQPacking:
    """From hqq's BaseQuantizeConfig.

    Raises:
        ModelError: what is not supported, by name.
    """
    if not isinstance(said, dict) or not isinstance(said.get("weight_quant_params"), dict):
        raise ModelError(f"{key}: it has no weight_quant_params", where=WHERE)
    for name in ("scale_quant_params", "zero_quant_params", "offload_meta"):
        if said.get(name):
            raise refused(f"{key}.{name}", said[name], [None])
    options = said["weight_quant_params"]
    key = f"{key}.weight_quant_params"
    bits, axis, size = (options.get(name) for name in ("nbits", "axis", "group_size"))
    if type(bits) is not int or bits not in BITS:
        raise refused(f"{key}.nbits", bits, BITS)
    if type(axis) is not int or axis not in AXES:
        raise refused(f"{key}.axis", axis, AXES)
    if size is not None and (type(size) is not int or size < 1):
        raise ModelError(f"{key}.group_size: {size!r} is neither null nor 1 or more", where=WHERE)
    if options.get("channel_wise", True) is not True:
        raise refused(f"{key}.channel_wise", options["channel_wise"], [True])
    view = options.get("view_as_float", False)
    if not isinstance(view, bool):
        raise refused(f"{key}.view_as_float", view, [True, False])
    return HQQPacking(bits, -1 if size is None else size, axis, view_as_float=view)


def _said(part: Tensor) -> Any:
    """A part as a person reads it."""
    numbers = part.tolist()
    return bytes(numbers).decode(errors="replace") if isinstance(numbers, list) else numbers
