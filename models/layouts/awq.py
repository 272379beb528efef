"""The layout of AutoAWQ ("gemm"), which transformers, GPTQModel and vLLM read.

For a linear with `n` inputs and `m` outputs, quantized to 4 bits in `g` groups of inputs:

    qweight  int32  [n, m/8]   levels, packed along the outputs
    qzeros   int32  [g, m/8]   zero points, packed in the same way
    scales   fp16   [g, m]

    weight[o, i] = (level[i, o] - zero[i // group_size, o]) * scale[i // group_size, o]

A word has eight neighbouring outputs, the lowest bits first, in the order 0, 2, 4, 6, 1, 3, 5, 7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from tfcli.models.errors import ModelError
from tfcli.models.layouts.errors import WHERE, refused
from tfcli.models.layouts.layout import Layout, Packed
from tfcli.models.layouts.packing import Packing, Part, ShapeOf
from tfcli.models.layouts.values import Affine, AffineFormat, Format, Values
from tfcli.models.layouts.words import pack, unpack

if TYPE_CHECKING:
    from tfcli.models.model import Model

BITS = 4
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of eight outputs each four bits of a word hold, from the lowest."""
_IN_A_WORD = len(ORDER)
_MIDDLE = 1 << (BITS - 1)


@dataclass(frozen=True)
class AWQPacking(Packing):
    """The three tensors of a linear.

    Args:
        group_size: inputs that share a scale, -1 for all.
        zero_point: zero points differ; without, every one is the middle level. They are stored
            either way.
    """

    main: ClassVar[str] = "qweight"
    output_axes: ClassVar[Mapping[str, int]] = {"qweight": 1, "qzeros": 1, "scales": 1}

    group_size: int
    zero_point: bool = True

    @property
    def format(self) -> AffineFormat:
        """What it stores."""
        return AffineFormat(BITS, self.group_size, symmetric=not self.zero_point)

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        groups = -(-in_features // self.format.width(in_features))
        return {
            "qweight": Part(torch.int32, (in_features, out_features // _IN_A_WORD)),
            "qzeros": Part(torch.int32, (groups, out_features // _IN_A_WORD)),
            "scales": Part(torch.float16, (groups, out_features)),
        }

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs and outputs of a linear."""
        in_features, words = shape("qweight")
        return in_features, words * _IN_A_WORD

    def pack(self, values: Values) -> dict[str, Tensor]:
        """The three tensors of a weight."""
        if not isinstance(values, Affine) or values.bits != BITS:
            raise ValueError(f"values that are no levels of {BITS} bits")
        if values.group_index is not None:
            raise ValueError("groups that are no runs of inputs")
        return {
            "qweight": pack_words(values.levels.t()),
            "qzeros": pack_words(values.zeros.t()),
            "scales": values.scales.t().to(torch.float16).contiguous(),
        }

    def unpack(self, parts: Mapping[str, Tensor]) -> Affine:
        """Undo `pack`."""
        return Affine(
            levels=unpack_words(parts["qweight"]).t(),
            scales=parts["scales"].t(),
            zeros=unpack_words(parts["qzeros"]).t(),
            bits=BITS,
            group_size=self.format.width(len(parts["qweight"])),
        )

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a linear of these sizes cannot be stored so."""
        if out_features % _IN_A_WORD:
            return f"has {out_features} outputs, and only multiples of {_IN_A_WORD} can be packed"
        width = self.format.width(in_features)
        if in_features % width:
            return f"has {in_features} inputs, which are no whole groups of {width}"
        return None

    def verify(self, parts: Mapping[str, Tensor], name: str) -> None:
        """Refuse scales that are not finite, and zero points that the config says are not there."""
        super().verify(parts, name)
        if self.zero_point:
            return
        zeros = unpack_words(parts["qzeros"])
        if not (zeros == _MIDDLE).all():
            raise ModelError(
                "the config says zero_point: false, "
                f"but the zero points are {zeros.unique().tolist()[:4]}, not {_MIDDLE}",
                where=f"{name}.qzeros",
                fix="correct zero_point in quantization_config",
            )


@dataclass(frozen=True)
class AWQLayout(Layout):
    """A quantization_config with quant_method "awq", in the words of transformers' AwqConfig or in
    AutoAWQ's own.

    What says how other programs run a checkpoint (`do_fuse`, `modules_to_fuse`, `fuse_max_seq_len`,
    `exllama_config`, `backend`) changes no stored value and is not looked at.

    Args:
        packing: of every packed linear.
        kept: `modules_to_not_convert`; see `keeps`.
    """

    name: ClassVar[str] = "awq"
    mixes: ClassVar[bool] = False
    heads: ClassVar[bool] = False
    quant_method: ClassVar[str] = "awq"
    shown_by: ClassVar[tuple[str, ...]] = (".qweight",)

    packing: AWQPacking
    kept: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def refusal(cls, form: Format) -> str | None:
        """Why this layout cannot store values of a format."""
        if not isinstance(form, AffineFormat):
            return "it has levels with scales and zero points alone"
        if form.inputs is not None:
            return "it says nothing of inputs that are rounded"
        if form.bits != BITS:
            return f"it has {BITS} bits, not {form.bits}"
        return None

    @classmethod
    def packing_for(cls, form: Format) -> AWQPacking:
        """How it stores values of a format. Readers know no other than with zero points."""
        return AWQPacking(form.group_size)

    @classmethod
    def of(cls, packed: Packed) -> AWQLayout:
        """The layout of a model that is about to be written.

        Raises:
            ModelError: linears that are packed in unlike ways, or outside of the blocks, which a
                config cannot say.
        """
        if packed.beyond:
            raise ModelError(
                f"awq: its readers pack the linears of blocks alone, and {packed.beyond[0]} is "
                "packed too",
                fix="leave it as it is, or take another layout, such as gptq",
            )
        packings = set(packed.packings.values())
        if len(packings) > 1:
            raise ModelError(
                "awq: a config has one group_size for all linears",
                fix="take one group_size, or a layout that has several",
            )
        (packing,) = packings
        assert isinstance(packing, AWQPacking)
        return cls(packing, tuple(packed.kept), packed.notes)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> AWQLayout:
        """Read a quantization_config."""
        bits = config.get("bits", config.get("w_bit", BITS))
        if bits != BITS or isinstance(bits, bool):
            raise refused("bits", bits, [BITS])
        version = config.get("version") or config.get("format") or "gemm"
        if not isinstance(version, str) or version.lower() != "gemm":
            raise refused("version", version, ["gemm"])
        if config.get("backend") == "llm-awq":
            raise refused("backend", "llm-awq", ["autoawq"])
        size = config.get("group_size", config.get("q_group_size", 128))
        if not isinstance(size, int) or isinstance(size, bool) or (size < 1 and size != -1):
            raise ModelError(f"group_size: {size!r} is neither -1 nor 1 or more", where=WHERE)
        zero_point = config.get("zero_point", True)
        if not isinstance(zero_point, bool):
            raise refused("zero_point", zero_point, [True, False])
        return cls(AWQPacking(size, zero_point), _names(config.get("modules_to_not_convert")))

    def to_config(self) -> dict[str, Any]:
        """The quantization_config, in the words of transformers and AutoAWQ."""
        config: dict[str, Any] = {
            "quant_method": "awq",
            "bits": BITS,
            "group_size": self.packing.group_size,
            "zero_point": self.packing.zero_point,
            "version": "gemm",
            "modules_to_not_convert": list(self.kept) or None,
        }
        if self.notes:
            config["meta"] = dict(self.notes)
        return config

    @property
    def usual(self) -> AWQPacking:
        """How every linear is packed that is."""
        return self.packing

    def packing_of(self, name: str) -> AWQPacking | None:
        """How a linear is packed."""
        return None if self.keeps(name) else self.packing

    def keeps(self, name: str) -> bool:
        """Whether a linear stays dense: a name of `kept` is the end of its own, or a regular
        expression for its beginning up to a point, as transformers has it."""
        return any(
            name.endswith(key) or re.match(rf"(?:{key})(?:(?<=\.)|(?=\.|$))", name)
            for key in self.kept
        )

    def linears(self, model: Model) -> dict[str, Packing]:
        """The linears of the blocks that are packed: AutoAWQ packs no others."""
        if not model.walks:
            raise ModelError(f"{type(model).__name__} has no quantized form", where=WHERE)
        names = [
            f"{walk.blocks}.{position}.{inner}"
            for walk in model.walks
            for position, block in model.get_submodule(walk.blocks).named_children()
            for inner in walk.linears(block)
        ]
        return {name: self.packing for name in names if not self.keeps(name)}


def pack_words(levels: Tensor) -> Tensor:
    """Pack levels along the last dimension.

    Args:
        levels (Tensor): [n, m] of whole numbers in 0 .. 15, m a multiple of 8.

    Returns:
        Tensor: int32 [n, m/8].

    Raises:
        ValueError: a level does not fit.
    """
    n, m = levels.shape
    ordered = levels.reshape(n, m // _IN_A_WORD, _IN_A_WORD)[:, :, list(ORDER)]
    # `pack` takes rows in multiples of 32: those of all inputs stand one below the other.
    rows = ordered.reshape(-1, 1)
    missing = -len(rows) % 32
    padded = torch.cat([rows, rows.new_zeros(missing, 1)])
    return pack(padded, BITS)[: len(rows) // _IN_A_WORD].reshape(n, -1)


def unpack_words(packed: Tensor) -> Tensor:
    """Undo `pack_words`: int32 [n, words] -> uint8 [n, 8 * words]."""
    n, words = packed.shape
    levels = unpack(packed.reshape(-1, 1), BITS).view(n, words, _IN_A_WORD)
    back = [ORDER.index(output) for output in range(_IN_A_WORD)]
    return levels[:, :, back].reshape(n, -1)


def _names(kept: Any) -> tuple[str, ...]:
    """`modules_to_not_convert` as a tuple.

    Raises:
        ModelError: it is no list of names, or one is no regular expression.
    """
    if kept is None:
        return ()
    if not isinstance(kept, list) or not all(isinstance(name, str) for name in kept):
        raise ModelError("modules_to_not_convert: not a list of names", where=WHERE)
    for name in kept:
        try:
            re.compile(name)
        except (re.error, RecursionError, OverflowError) as error:
            raise ModelError(
                f"modules_to_not_convert: {name!r} is no regular expression: {error}", where=WHERE
            ) from None
    return tuple(kept)
