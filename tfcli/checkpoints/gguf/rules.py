"""How tensors of a Hugging Face checkpoint and of a GGUF file correspond, as data.

A rule pairs two name templates and says what is done to the values between them. `{i}` stands for
a layer, `{e}` for a position in a stack, `{p}` for `weight` or `bias`. Every rule works both ways,
and the values come back bit for bit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

_PLACES = {"{i}": r"(?P<i>\d{1,6})", "{e}": r"(?P<e>\d{1,6})", "{p}": r"(?P<p>weight|bias)"}


class Change(Protocol):
    """What is done to the values. `sizes` is the model's config."""

    def write(self, tensor: Tensor, sizes: Any) -> Tensor:
        """From Hugging Face to GGUF."""

    def read(self, tensor: Tensor, sizes: Any) -> Tensor:
        """From GGUF to Hugging Face."""


@dataclass(frozen=True)
class Permute:
    """Rows of a head in the order of rotary pairs.

    Hugging Face turns element k of a head together with k + d/2, llama.cpp's `llama` architecture
    turns neighbours, as Meta's own code does.

    Args:
        heads: the config's field with the number of heads.
    """

    heads: str

    def write(self, tensor: Tensor, sizes: Any) -> Tensor:
        split = tensor.unflatten(0, (getattr(sizes, self.heads), 2, -1))
        return split.transpose(1, 2).reshape(tensor.shape)

    def read(self, tensor: Tensor, sizes: Any) -> Tensor:
        split = tensor.unflatten(0, (getattr(sizes, self.heads), -1, 2))
        return split.transpose(1, 2).reshape(tensor.shape)


@dataclass(frozen=True)
class Transpose:
    """Stored [in, out] by Hugging Face, [out, in] in GGUF."""

    def write(self, tensor: Tensor, sizes: Any) -> Tensor:
        return tensor.t()

    def read(self, tensor: Tensor, sizes: Any) -> Tensor:
        return tensor.t()


@dataclass(frozen=True)
class ByKind:
    """Queries, keys and values of each head in turn become all queries, all keys, all values."""

    heads: str = "num_attention_heads"

    def write(self, tensor: Tensor, sizes: Any) -> Tensor:
        split = tensor.unflatten(0, (getattr(sizes, self.heads), 3, -1))
        return split.transpose(0, 1).reshape(tensor.shape)

    def read(self, tensor: Tensor, sizes: Any) -> Tensor:
        split = tensor.unflatten(0, (3, getattr(sizes, self.heads), -1))
        return split.transpose(0, 1).reshape(tensor.shape)


@dataclass(frozen=True)
class AddOne:
    """Norms stored less 1 by Hugging Face and whole in GGUF, always in float32.

    The sum may lose the last bits; `remainder` gives them, so that `read` can put them back.
    """

    def write(self, tensor: Tensor, sizes: Any) -> Tensor:
        return tensor.float() + 1

    def read(self, tensor: Tensor, sizes: Any) -> Tensor:
        return self.restore(tensor, None)

    def remainder(self, tensor: Tensor) -> Tensor:
        """What `write` loses, float32: exact, as the error of a sum always is (Knuth's TwoSum)."""
        whole = self.write(tensor, None).double()
        return (tensor.double() - (whole - 1)).float()

    def restore(self, tensor: Tensor, remainder: Tensor | None) -> Tensor:
        """The values that were written, float64 until they are cast to their own type."""
        less = tensor.double() - 1
        return less if remainder is None else less + remainder.double()


@dataclass(frozen=True)
class Rule:
    """One kind of tensor.

    Args:
        hf: template of the Hugging Face name.
        gguf: template of the GGUF name; without `{e}` where the other has it, the tensors of all
            positions are one, stacked along a new first dimension.
        change: what is done to the values; None: nothing.
    """

    hf: str
    gguf: str
    change: Change | None = None

    @property
    def stacks(self) -> bool:
        """Whether several Hugging Face tensors make one."""
        return "{e}" in self.hf and "{e}" not in self.gguf

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        return _pattern(self.hf), _pattern(self.gguf)

    def from_hf(self, name: str) -> dict[str, str] | None:
        """What the placeholders stand for in a Hugging Face name, or None."""
        match = self._patterns[0].fullmatch(name)
        return match.groupdict() if match else None

    def from_gguf(self, name: str) -> dict[str, str] | None:
        """What the placeholders stand for in a GGUF name, or None."""
        match = self._patterns[1].fullmatch(name)
        return match.groupdict() if match else None

    def name(self, template: str, places: dict[str, str]) -> str:
        """A name of the rule: `template` filled in."""
        for place, text in places.items():
            template = template.replace(f"{{{place}}}", text)
        return template


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[iep]\})", template)
    return re.compile("".join(_PLACES.get(part, re.escape(part)) for part in parts))


@dataclass(frozen=True)
class Dialect:
    """A model type's side of GGUF.

    Args:
        model_type: config.json's.
        arch: GGUF's `general.architecture`.
        prefix: what the body's names begin with in a model with a head; checkpoints of the body
            alone lack it.
        rules: kinds of tensors.
        dropped: (regular expression, reason) for tensors that GGUF has no place for.
        head: the output matrix, which is not stored where it is the embedding.
        older: kinds of tensors that older files have instead; they are read only.
    """

    model_type: str
    arch: str
    prefix: str
    rules: tuple[Rule, ...]
    dropped: Sequence[tuple[str, str]] = field(default=())
    head: str | None = "lm_head.weight"
    older: tuple[Rule, ...] = ()

    def of_hf(self, name: str) -> tuple[Rule, dict[str, str]] | None:
        """The rule for a Hugging Face name, and what its placeholders stand for."""
        return next(
            ((rule, found) for rule in self.rules if (found := rule.from_hf(name)) is not None),
            None,
        )

    def of_gguf(self, name: str) -> tuple[Rule, dict[str, str]] | None:
        """The rule for a GGUF name, and what its placeholders stand for."""
        rules = (*self.rules, *self.older)
        return next(
            ((rule, found) for rule in rules if (found := rule.from_gguf(name)) is not None),
            None,
        )

    def why_dropped(self, name: str) -> str | None:
        """Why a Hugging Face tensor has no place in GGUF; None: it must have one."""
        return next((why for pattern, why in self.dropped if re.fullmatch(pattern, name)), None)
