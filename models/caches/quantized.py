"""A store that keeps old positions in 8 or 4 bits, rotated.

The newest positions stay exact until enough of them have gathered, as in KIVI (Liu et al. 2024).
Unlike there, keys are grouped along a head as values are: then a position is quantized once and
never again, whatever comes after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from tfcli.models.caches.hadamard import Hadamard
from tfcli.models.caches.stores import Change, Store, lanes_of, require_no_gradient
from tfcli.models.errors import ModelError

BITS = (8, 4)


@dataclass(frozen=True)
class Packed:
    """Positions of keys or values in few bits: x = low + scale * code, for each group.

    Args:
        codes (Tensor): uint8 [b, heads, s, width] for 8 bits; [b, heads, s, width / 2] for 4, the
            even dimensions in the lower half of each byte.
        scale (Tensor): float32 [b, heads, s, groups], the step between two codes.
        low (Tensor): [b, heads, s, groups], each group's smallest value, in the dtype of what was
            packed, which is float32 after a rotation.
    """

    codes: torch.Tensor
    scale: torch.Tensor
    low: torch.Tensor

    @property
    def length(self) -> int:
        """How many positions."""
        return self.codes.shape[2]

    def joined(self, more: Packed) -> Packed:
        """These positions and those after them."""
        return Packed(
            torch.cat((self.codes, more.codes), dim=2),
            torch.cat((self.scale, more.scale), dim=2),
            torch.cat((self.low, more.low), dim=2),
        )


def pack(x: torch.Tensor, bits: int, group_size: int) -> Packed:
    """Quantize asymmetrically, so that no value moves by more than half a step.

    Args:
        x (Tensor): [b, heads, s, width]
        bits: 8 or 4.
        group_size: dimensions of a head that share a scale, at most; see `group_of`.

    Raises:
        ModelError: an odd width with 4 bits, of which two make a byte.
    """
    width, levels = x.shape[-1], 2**bits - 1
    if bits == 4 and width % 2:
        raise ModelError(
            f"a 4-bit cache cannot hold heads of {width} dimensions, an odd number",
            fix="use 8 bits",
        )
    groups = x.unflatten(-1, (-1, group_of(width, group_size)))
    low, high = groups.aminmax(dim=-1, keepdim=True)
    scale = (high.float() - low.float()) / levels
    step = scale.masked_fill(scale == 0, 1.0)  # of a group whose values are all the same
    codes = ((groups.float() - low.float()) / step).round_().clamp_(0, levels).to(torch.uint8)
    codes = codes.flatten(-2)
    if bits == 4:
        codes = codes[..., 0::2] | (codes[..., 1::2] << 4)
    return Packed(codes, scale.squeeze(-1), low.squeeze(-1))


def unpack(packed: Packed, bits: int) -> torch.Tensor:
    """The inverse of `pack`, as far as there is one.

    Args:
        packed: s positions.
        bits: those that it was packed with.

    Returns:
        float32 [b, heads, s, width]
    """
    codes = packed.codes
    if bits == 4:
        codes = torch.stack((codes & 15, codes >> 4), dim=-1).flatten(-2)
    groups = codes.unflatten(-1, (packed.scale.shape[-1], -1))
    values = groups.float().mul_(packed.scale[..., None]).add_(packed.low[..., None])
    return values.flatten(-2)


def group_of(width: int, group_size: int) -> int:
    """The largest divisor of a head's width that is no larger than the group size asked for."""
    return next(size for size in range(min(width, group_size), 0, -1) if width % size == 0)


class QuantizedStore(Store):
    """Keeps everything: the newest positions exactly, those before them in few bits.

    Keys and values are unpacked at each update, for one layer at a time. There is no gradient.
    They are rotated before they are quantized, see `hadamard`, and back when they are unpacked. To
    rotate queries instead would save little and ask for a case in every layer, as latent attention
    makes keys and values of what is kept.

    Args:
        bits: 8 or 4.
        group_size: dimensions of a head that share a scale.
        residual: so many of the newest positions are exact at least. Each time that there are
            twice as many, the older half is quantized.
        rotated: whether they are. Only tests and measurements leave it out: it is never better.

    Raises:
        ModelError: a setting that cannot be.
    """

    def __init__(
        self, bits: int = 8, group_size: int = 64, residual: int = 128, rotated: bool = True
    ) -> None:
        check_settings(bits, group_size, residual)
        self.settings = bits, group_size, residual, Hadamard() if rotated else None
        self.form = f"{bits} bits, groups of {group_size}{', rotated' if rotated else ''}"
        self._lanes: tuple[_Lane, ...] = ()

    @property
    def kept(self) -> int:
        return self._lanes[0].held.length if self._lanes else 0

    def update(self, *new: torch.Tensor) -> tuple[torch.Tensor, ...]:
        require_no_gradient(new, "a quantized cache")
        if not self._lanes:
            self._lanes = tuple(_Lane(*self.settings) for _ in new)
        return tuple(lane.update(x) for lane, x in zip(self._lanes, new, strict=True))

    def commit(self) -> None:
        for lane in self._lanes:
            lane.held = lane.next

    def reset(self) -> None:
        self._lanes = ()

    def tensors(self) -> list[torch.Tensor]:
        return [tensor for lane in self._lanes for tensor in lane.held.named().values()]

    def apply(self, change: Change) -> None:
        self._hold(
            [
                _Held.of({name: change(tensor) for name, tensor in lane.held.named().items()})
                for lane in self._lanes
            ]
        )

    def crop(self, length: int, past: int) -> None:
        self._hold([lane.held.cropped(length) for lane in self._lanes])

    def content(self) -> dict[str, torch.Tensor]:
        return {
            f"{number}.{name}": tensor
            for number, lane in enumerate(self._lanes)
            for name, tensor in lane.held.named().items()
        }

    def restore(self, content: Mapping[str, torch.Tensor], length: int) -> None:
        self.reset()
        if not any("." in name for name in content):  # of a store that keeps positions exactly
            self.update(*lanes_of(content))
            return
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in content.items():
            number, _, part = name.partition(".")
            parts.setdefault(number, {})[part] = tensor
        self._hold([_Held.of(parts[str(number)]) for number in range(len(parts))])

    def _hold(self, lanes: Sequence[_Held]) -> None:
        # New lanes, as those of a copy are not its own.
        self._lanes = tuple(_Lane(*self.settings, one) for one in lanes)


@dataclass(frozen=True)
class _Held:
    """What a lane holds: positions in few bits, then exact ones [b, heads, s, width]."""

    packed: Packed | None = None
    recent: torch.Tensor | None = None

    @property
    def length(self) -> int:
        """How many positions."""
        old = 0 if self.packed is None else self.packed.length
        return old + (0 if self.recent is None else self.recent.shape[2])

    def named(self) -> dict[str, torch.Tensor]:
        """All tensors by name."""
        packed = {} if self.packed is None else dict(vars(self.packed))
        return packed if self.recent is None else {**packed, "recent": self.recent}

    @classmethod
    def of(cls, named: Mapping[str, torch.Tensor]) -> _Held:
        """The inverse of `named`."""
        packed = {name: tensor for name, tensor in named.items() if name != "recent"}
        return cls(Packed(**packed) if packed else None, named.get("recent"))

    def cropped(self, length: int) -> _Held:
        """The first positions."""
        packed, recent = self.packed, self.recent
        old = 0 if packed is None else packed.length
        if packed is not None and length < old:
            packed = Packed(*(tensor[:, :, :length] for tensor in vars(packed).values()))
        if recent is not None:
            recent = recent[:, :, : length - old] if length > old else None
        return _Held(packed, recent)


class _Lane:
    """The keys, or the values, of a layer; `next` is what it holds after `commit`."""

    def __init__(
        self,
        bits: int,
        group_size: int,
        residual: int,
        hadamard: Hadamard | None,
        held: _Held = _Held(),
    ) -> None:
        self.bits, self.group_size, self.residual = bits, group_size, residual
        self._turn: Callable[[torch.Tensor], torch.Tensor] = hadamard or torch.Tensor.float
        self.held = self.next = held

    def update(self, x: torch.Tensor) -> torch.Tensor:
        """Add positions. x (Tensor): [b, heads, s, width] -> [b, heads, kept + s, width]"""
        packed, recent = self.held.packed, self.held.recent
        # A copy, because x may be a view that keeps much more than itself in memory.
        recent = x.clone() if recent is None else torch.cat((recent, x), dim=2)
        whole = recent
        if packed is not None:
            old = packed.length
            whole = x.new_empty(*x.shape[:2], old + recent.shape[2], x.shape[3])
            whole[:, :, :old] = self._turn(unpack(packed, self.bits))
            whole[:, :, old:] = recent
        moved = (recent.shape[2] // self.residual - 1) * self.residual
        if moved > 0:
            more = pack(self._turn(recent[:, :, :moved]), self.bits, self.group_size)
            packed = more if packed is None else packed.joined(more)
            recent = recent[:, :, moved:].clone()
        self.next = _Held(packed, recent)
        return whole


def check_settings(bits: int, group_size: int, residual: int) -> None:
    """Refuse settings that cannot be.

    Raises:
        ModelError: names the setting.
    """
    if bits not in BITS:
        raise ModelError(
            f"a cache of {bits} bits is not built", fix=f"use {' or '.join(map(str, BITS))}"
        )
    for name, value in (("group_size", group_size), ("residual", residual)):
        if value < 1:
            raise ModelError(f"a quantized cache's {name} must be at least 1, not {value}")
