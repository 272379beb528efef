"""The layout that AutoGPTQ wrote first and that GPTQModel, transformers and vLLM read.

For a linear with `n` inputs and `m` outputs, quantized to `b` bits in `g` groups of inputs:

    qweight  int32  [n*b/32, m]   levels, packed along the inputs (see `words`)
    qzeros   int32  [g, m*b/32]   zero points, packed along the outputs
    scales   fp16   [g, m]
    g_idx    int32  [n]           the group of each input

    weight[o, i] = (level[i, o] - zero[g_idx[i], o]) * scale[g_idx[i], o]
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from tfcli.models.errors import ModelError, hint
from tfcli.models.layouts.errors import WHERE, refused
from tfcli.models.layouts.layout import Layout, Packed
from tfcli.models.layouts.packing import Packing, Part, ShapeOf
from tfcli.models.layouts.values import Affine, AffineFormat, Format, Values, runs
from tfcli.models.layouts.words import BITS, PACK, pack, unpack

if TYPE_CHECKING:
    from tfcli.models.calibration import CalibrationWalk
    from tfcli.models.model import Model

ZERO_OFFSETS = {"gptq": 1, "gptq_v2": 0}
"""What `checkpoint_format` says of qzeros: v1 stores the zero point minus one, v2 as it is."""

_HEAD = "lm_head"
"""What a packed head is called: GPTQModel and vLLM look for it by the config's key."""

_FIXED: dict[str, tuple[Any, ...]] = {
    "pack_dtype": ("int32",),
    "is_marlin_format": (False,),
}
"""Keys that change the layout, with the values under which they do not."""


@dataclass(frozen=True)
class GPTQPacking(Packing):
    """The four tensors of a linear.

    Args:
        bits: 2, 3, 4 or 8.
        group_size: inputs that share a scale, -1 for all.
        symmetric: every zero point is the middle level.
        version: "gptq" or "gptq_v2", the convention of qzeros.
        ordered: groups may be no runs of inputs (`desc_act`), so that g_idx must be there.
    """

    main: ClassVar[str] = "qweight"
    output_axes: ClassVar[Mapping[str, int]] = {"qweight": 1, "qzeros": 1, "scales": 1}

    bits: int
    group_size: int
    symmetric: bool
    version: str
    ordered: bool = False

    @property
    def format(self) -> AffineFormat:
        """What it stores."""
        return AffineFormat(self.bits, self.group_size, self.symmetric)

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        groups = -(-in_features // self.format.width(in_features))
        return {
            "qweight": Part(torch.int32, (in_features * self.bits // PACK, out_features)),
            "qzeros": Part(torch.int32, (groups, out_features * self.bits // PACK)),
            "scales": Part(torch.float16, (groups, out_features)),
            "g_idx": Part(torch.int32, (in_features,)),
        }

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs and outputs of a linear."""
        words, out_features = shape("qweight")
        return words * PACK // self.bits, out_features

    def pack(self, values: Values) -> dict[str, Tensor]:
        """The four tensors of a weight."""
        if not isinstance(values, Affine) or values.bits != self.bits:
            raise ValueError(f"values that are no levels of {self.bits} bits")
        zeros = values.zeros.to(torch.uint8).t()
        return {
            "qweight": pack(values.levels.t(), self.bits),
            "qzeros": pack_zeros(zeros, self.bits, version=self.version),
            "scales": values.scales.t().to(torch.float16).contiguous(),
            "g_idx": values.index,
        }

    def unpack(self, parts: Mapping[str, Tensor]) -> Affine:
        """Undo `pack`."""
        index = parts["g_idx"]
        return Affine(
            levels=unpack(parts["qweight"], self.bits).t(),
            scales=parts["scales"].t(),
            zeros=unpack_zeros(parts["qzeros"], self.bits, version=self.version).t(),
            bits=self.bits,
            group_size=self.format.width(len(index)),
            group_index=None if self.has_runs(parts) else index,
        )

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a linear of these sizes cannot be stored so."""
        for features, what in ((in_features, "inputs"), (out_features, "outputs")):
            if features % PACK:
                return f"has {features} {what}, and only multiples of {PACK} can be packed"
        return None

    def left_out(self, part: str, in_features: int, out_features: int) -> Tensor | None:
        """The groups, where they are runs of inputs: older writers leave them out.

        Raises:
            ModelError: nothing says which group an input is in.
        """
        if part != "g_idx":
            return None
        if self.ordered:
            raise ModelError(
                "there is no g_idx, and groups are no runs of inputs: desc_act is true",
                where=WHERE,
                fix="take the checkpoint with its g_idx, or set desc_act to false if it was "
                "quantized so",
            )
        return runs(in_features, self.group_size)

    def has_runs(self, parts: Mapping[str, Tensor]) -> bool:
        """Whether groups are runs of neighbours, as without activation order."""
        index = parts["g_idx"]
        size = self.format.width(len(index))
        plain = runs(len(index), size).to(index.device)
        return len(index) % size == 0 and torch.equal(index, plain)

    def verify(self, parts: Mapping[str, Tensor], name: str) -> None:
        """Refuse groups that do not exist, scales that are not finite, and zero points that a
        symmetric weight of this version cannot have."""
        super().verify(parts, name)
        index, groups = parts["g_idx"], len(parts["scales"])
        if int(index.min()) < 0 or int(index.max()) >= groups:
            raise ModelError(f"a group is outside of 0 .. {groups - 1}", where=f"{name}.g_idx")
        if not self.symmetric:
            return
        zeros = unpack_zeros(parts["qzeros"], self.bits, version=self.version)
        middle = 1 << (self.bits - 1)
        if not (zeros == middle).all():
            raise ModelError(
                f"the config says sym: true and checkpoint_format: {self.version}, "
                f"but the zero points are {zeros.unique().tolist()[:4]}, not {middle}",
                where=f"{name}.qzeros",
                fix="correct checkpoint_format (gptq or gptq_v2) or sym in quantization_config",
            )


@dataclass(frozen=True)
class GPTQLayout(Layout):
    """A quantization_config with quant_method "gptq".

    Args:
        packing: of every linear that `dynamic` does not change.
        modules: names within a block, or None for all of the family's calibration walk
            (`modules_in_block_to_quantize`).
        dynamic: regular expression on a full name -> changes; one that begins with "-:" leaves
            the linears that match as they are.
        head: the model's head is packed too (`lm_head`).
        notes: what the method says of itself.
    """

    name: ClassVar[str] = "gptq"
    quant_method: ClassVar[str] = "gptq"
    shown_by: ClassVar[tuple[str, ...]] = (".qweight",)

    packing: GPTQPacking
    modules: tuple[str, ...] | None = None
    dynamic: dict[str, dict[str, Any]] = field(default_factory=dict)
    head: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def refusal(cls, form: Format) -> str | None:
        """Why this layout cannot store values of a format."""
        if not isinstance(form, AffineFormat):
            return "it has levels with scales and zero points alone"
        if form.inputs is not None:
            return "it says nothing of inputs that are rounded"
        if form.bits not in BITS:
            return f"it has {', '.join(map(str, BITS[:-1]))} and {BITS[-1]} bits, not {form.bits}"
        return None

    @classmethod
    def packing_for(cls, form: Format) -> GPTQPacking:
        """How it stores values of a format: in the version that every reader takes.

        GPTQModel refuses asymmetric weights in the first, whose programs disagreed about zero
        points, unless it made them itself.
        """
        assert isinstance(form, AffineFormat), "what it refuses does not come here"
        version = "gptq" if form.symmetric else "gptq_v2"
        return GPTQPacking(form.bits, form.group_size, form.symmetric, version)

    @classmethod
    def of(cls, packed: Packed) -> GPTQLayout:
        """The layout of a model that is about to be written.

        Raises:
            ModelError: a linear outside of the blocks is packed that is no `lm_head`.
        """
        other = next((name for name in packed.beyond if name != _HEAD), None)
        if other is not None:
            raise ModelError(
                f"gptq: outside of the blocks its config packs {_HEAD} alone, not {other}",
                fix="take another layout, such as compressed-tensors",
            )
        usual = _usual(packed.packings)
        # GPTQModel and vLLM read `dynamic`, transformers only `modules`.
        dynamic: dict[str, dict[str, Any]] = {_exactly("-", name): {} for name in packed.kept}
        for name, packing in packed.packings.items():
            if packing != usual:
                assert isinstance(packing, GPTQPacking)
                dynamic[_exactly("+", name)] = {
                    "bits": packing.bits,
                    "group_size": packing.group_size,
                    "sym": packing.symmetric,
                }
        done, left = _inner_names(packed.packings, packed), _inner_names(packed.kept, packed)
        modules = tuple(done) if left and not set(done) & set(left) else None
        return cls(usual, modules, dynamic, bool(packed.beyond), packed.notes)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> GPTQLayout:
        """Read a quantization_config."""
        for key, values in _FIXED.items():
            if config.get(key) not in (None, *values):
                raise refused(key, config[key], list(values))
        version = config.get("checkpoint_format") or config.get("format") or "gptq"
        if version not in ZERO_OFFSETS:
            raise refused("checkpoint_format", version, list(ZERO_OFFSETS))
        packing = GPTQPacking(
            bits=config.get("bits", 0),
            group_size=config.get("group_size", -1),
            symmetric=bool(config.get("sym", False)),
            version=version,
            ordered=bool(config.get("desc_act")) and config.get("group_size", -1) != -1,
        )
        _check(packing)
        return cls(
            packing=packing,
            modules=_flat(config.get("modules_in_block_to_quantize")),
            dynamic=_dynamic(config.get("dynamic")),
            head=_yes(_HEAD, config.get(_HEAD)),
        )

    def to_config(self) -> dict[str, Any]:
        """The quantization_config, in the words of GPTQModel and transformers."""
        notes = dict(self.notes)
        config: dict[str, Any] = {
            "quant_method": "gptq",
            "bits": self.packing.bits,
            "group_size": self.packing.group_size,
            "desc_act": self.packing.ordered,
            "sym": self.packing.symmetric,
            _HEAD: self.head,
            "checkpoint_format": self.packing.version,
            "pack_dtype": "int32",
            "true_sequential": True,
        }
        for key in ("damp_percent", "static_groups"):
            if key in notes:
                config[key] = notes.pop(key)
        if notes:
            config["meta"] = notes
        if self.dynamic:
            config["dynamic"] = self.dynamic
        if self.modules is not None:
            config["modules_in_block_to_quantize"] = [list(self.modules)]
        return config

    @property
    def caveat(self) -> str | None:
        """What transformers, which looks at linears of blocks alone, is not told of."""
        if self.head:
            return (
                "the head is packed: GPTQModel and vLLM load it so; transformers, which looks for "
                "packed linears in blocks alone, finds no head in this checkpoint"
            )
        if self.modules is not None or not any(name.startswith("-:") for name in self.dynamic):
            return None
        return (
            "some blocks leave out linears that others do not: transformers cannot say so in a "
            "config and will not load this checkpoint; GPTQModel and vLLM can"
        )

    @property
    def usual(self) -> GPTQPacking:
        """How linears are packed that `dynamic` does not name."""
        return self.packing

    def packing_of(self, name: str) -> GPTQPacking | None:
        """How a linear is packed. The first pattern that matches decides, as in GPTQModel."""
        for pattern, changes in self.dynamic.items():
            excluded = pattern.startswith("-:")
            if re.match(pattern.removeprefix("-:").removeprefix("+:"), name):
                return None if excluded else self._changed(changes)
        return self.packing

    def linears(self, model: Model) -> dict[str, Packing]:
        """The linears of the blocks that are packed, and the head; others never are so."""
        if not model.walks:
            raise ModelError(f"{type(model).__name__} has no quantized form", where=WHERE)
        found: dict[str, Packing] = {}
        everywhere = {name for walk in model.walks for name in self._named(model, walk)}
        for walk in model.walks:
            for path, block in _blocks(model, walk):
                known = walk.linears(block)
                for inner in known if self.modules is None else self.modules:
                    elsewhere = inner in everywhere or (walk.varies and walk.names(inner))
                    if inner not in known and elsewhere:
                        continue  # a linear of other blocks
                    _require_linear(block, inner, known)
                    packing = self.packing_of(f"{path}.{inner}")
                    if packing is not None:
                        found[f"{path}.{inner}"] = packing
        if self.head and model.word_head is None:
            raise ModelError(f"{_HEAD}: {type(model).__name__} has none", where=WHERE)
        head = self._packing_of_any(model.head_names) if self.head else None
        if head is not None and model.word_head is not None:
            found[model.word_head] = head
        return found

    def _named(self, model: Model, walk: CalibrationWalk) -> set[str]:
        """The linears of a chain's blocks that `modules` names."""
        known = {name for _, block in _blocks(model, walk) for name in walk.linears(block)}
        return known & set(self.modules or ())

    def _changed(self, changes: dict[str, Any]) -> GPTQPacking:
        changed = replace(
            self.packing,
            bits=changes.get("bits", self.packing.bits),
            group_size=changes.get("group_size", self.packing.group_size),
            symmetric=bool(changes.get("sym", self.packing.symmetric)),
        )
        _check(changed)
        return changed


def pack_zeros(zeros: Tensor, bits: int, *, version: str) -> Tensor:
    """Pack zero points along the outputs, in the convention of a version.

    Args:
        zeros (Tensor): [g, m], integers in 0 .. 2**bits - 1. "gptq" cannot store 0: some of its
            readers add the one back without a carry between neighbours, others with.

    Returns:
        Tensor: int32 [g, m*bits/32].

    Raises:
        ValueError: a zero point that the format cannot store.
    """
    stored = zeros.long() - ZERO_OFFSETS[version]
    if stored.numel() and int(stored.min()) < 0:
        raise ValueError(f"a zero point of 0 cannot be stored in the format {version!r}")
    return pack(stored.t(), bits).t().contiguous()


def unpack_zeros(qzeros: Tensor, bits: int, *, version: str) -> Tensor:
    """Undo `pack_zeros`: uint8 [g, m], values in 0 .. 2**bits - 1.

    A v1 field of all ones means 0, because the one that was taken off wraps within the field.
    """
    stored = unpack(qzeros.t().contiguous(), bits).t()
    return (stored + ZERO_OFFSETS[version]) & ((1 << bits) - 1)


def _check(packing: GPTQPacking) -> None:
    """Refuse bits and group sizes that the layout does not have."""
    if packing.bits not in BITS or isinstance(packing.bits, bool):
        raise refused("bits", packing.bits, list(BITS))
    size = packing.group_size
    if not isinstance(size, int) or isinstance(size, bool) or (size < 1 and size != -1):
        raise ModelError(f"group_size: {size!r} is neither -1 nor 1 or more", where=WHERE)


def _blocks(model: Model, walk: CalibrationWalk) -> Iterator[tuple[str, nn.Module]]:
    for name, block in model.get_submodule(walk.blocks).named_children():
        yield f"{walk.blocks}.{name}", block


def _require_linear(block: nn.Module, name: str, known: tuple[str, ...]) -> None:
    try:
        found = block.get_submodule(name)
    except AttributeError:
        found = None
    if not isinstance(found, nn.Linear):
        raise ModelError(
            f"modules_in_block_to_quantize: {name!r} is no linear of a block",
            where=WHERE,
            fix=hint(name, known),
        )


def _usual(packings: Mapping[str, Packing]) -> GPTQPacking:
    """The packing that most linears have."""
    counts = Counter(packings.values())
    usual, _ = counts.most_common(1)[0]
    assert isinstance(usual, GPTQPacking)
    return usual


def _exactly(sign: str, name: str) -> str:
    """The pattern of `dynamic` for one name."""
    return f"{sign}:^{name.replace('.', '[.]')}$"


def _inner_names(names: Iterable[str], packed: Packed) -> list[str]:
    """Names within a block: `model.layers.3.mlp.up_proj` -> `mlp.up_proj`."""
    found: dict[str, None] = {}
    for name in names:
        path = next((path for path in packed.blocks if name.startswith(f"{path}.")), None)
        if path is not None:
            found[name.removeprefix(f"{path}.").partition(".")[2]] = None
    return list(found)


def _yes(key: str, value: Any) -> bool:
    if value not in (None, True, False):
        raise refused(key, value, [True, False])
    return bool(value)


def _flat(modules: Any) -> tuple[str, ...] | None:
    """`[["a", "b"], ["c"]]` or `["a", "b"]` as a tuple of names."""
    if modules is None:
        return None
    names: list[str] = []
    for item in modules if isinstance(modules, list) else [modules]:
        names += item if isinstance(item, list) else [item]
    if not all(isinstance(name, str) for name in names):
        raise ModelError("modules_in_block_to_quantize: not a list of names", where=WHERE)
    return tuple(names)


def _dynamic(dynamic: Any) -> dict[str, dict[str, Any]]:
    if dynamic is None:
        return {}
    if not isinstance(dynamic, dict):
        raise ModelError("dynamic: not a mapping of patterns to changes", where=WHERE)
    for pattern, changes in dynamic.items():
        try:
            re.compile(pattern.removeprefix("-:").removeprefix("+:"))
        except re.error as error:
            raise ModelError(f"dynamic: bad pattern {pattern!r}: {error}", where=WHERE) from None
        if not isinstance(changes, dict):
            raise ModelError(f"dynamic: {pattern!r} maps to no changes", where=WHERE)
    return dynamic
