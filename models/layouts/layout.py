"""What a quantization_config says of a model: which linears are packed, and how each of them is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import nn

from tfcli.models.layouts.packing import Packing
from tfcli.models.layouts.values import Format

if TYPE_CHECKING:
    from tfcli.models.model import Model


class Sized(Protocol):
    """A linear with its sizes, and how it is packed."""

    @property
    def name(self) -> str:
        """Full name of the module."""

    @property
    def packing(self) -> Packing:
        """How."""

    @property
    def in_features(self) -> int:
        """Inputs."""

    @property
    def out_features(self) -> int:
        """Outputs."""


@dataclass(frozen=True)
class Packed:
    """What a quantization packs, for the config to say.

    Args:
        packings: full name of each linear that is packed -> how.
        kept: full names of the linears of the blocks that are not.
        blocks: dotted paths of the block lists.
        notes: what the method says of itself; readers ignore it.
        outside: full names of what else has a matrix that stays as it is, tables aside: heads, and
            what is no linear in a block but may be one to a reader.
    """

    packings: Mapping[str, Packing]
    kept: Sequence[str]
    blocks: Sequence[str]
    notes: Mapping[str, Any] = field(default_factory=dict)
    outside: Sequence[str] = ()

    @property
    def beyond(self) -> list[str]:
        """Full names of the packed linears that no block holds: a head, as a rule."""
        inside = tuple(f"{path}." for path in self.blocks)
        return [name for name in self.packings if not name.startswith(inside)]


class Storage(ABC):
    """What quantized linears are packed for.

    `name` is what `--layout` calls it, `mixes` says whether linears may be packed in unlike ways,
    `heads` whether its readers take a packed head, and `tables` whether they take packed tables of
    embeddings.
    """

    name: ClassVar[str]
    mixes: ClassVar[bool] = True
    heads: ClassVar[bool] = True
    tables: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def refusal(cls, form: Format) -> str | None:
        """Why this layout cannot store values of a format; None where it can."""

    @classmethod
    @abstractmethod
    def packing_for(cls, form: Format) -> Packing:
        """How it stores values of a format that it can store."""

    @classmethod
    def problem(cls, form: Format, in_features: int, out_features: int) -> str | None:
        """Why it cannot store a linear of these sizes in a format; None where it can.

        Either what it refuses of every linear (`refusal`), or what is wrong with the sizes, such as
        `has 80 inputs, ...`.
        """
        refused = cls.refusal(form)
        if refused is not None:
            return refused
        packing = cls.packing_for(form)
        return form.misfit(in_features, out_features) or packing.misfit(in_features, out_features)


@dataclass(frozen=True)
class ReadLayout(ABC):
    """A quantization_config, as read.

    `quant_method` is what the config calls it. A tensor whose name ends as in `shown_by` is a part
    of a packed linear, which has the name before that.
    """

    quant_method: ClassVar[str]
    shown_by: ClassVar[tuple[str, ...]]

    @classmethod
    @abstractmethod
    def from_config(cls, config: Mapping[str, Any]) -> ReadLayout:
        """Read a quantization_config.

        Raises:
            ModelError: a format or a value that is not supported, by name.
        """

    @property
    @abstractmethod
    def usual(self) -> Packing:
        """How most linears are packed."""

    @property
    def unused(self) -> Mapping[str, str]:
        """Regular expressions of tensors' names -> why those are not needed."""
        return {}

    @property
    def sized_by_model(self) -> bool:
        """Whether only a model's linears tell the sizes of what is packed: `linears` then says more
        than `packing_of`."""
        return False

    @abstractmethod
    def packing_of(self, name: str) -> Packing | None:
        """How the linear of a full name is packed; None where it is not."""

    def linears(self, model: Model) -> dict[str, Packing]:
        """The linears of a model that are packed, by their full names, in its order.

        Raises:
            ModelError: the config names what the model does not have.
        """
        found = {}
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear):
                names = model.head_names if name == model.word_head else (name,)
                packing = self._packing_of_any(names)
                if packing is not None:
                    found[name] = packing
        return found

    def _packing_of_any(self, names: Sequence[str]) -> Packing | None:
        """How a linear is packed that a config may call by any of some names: what is said of one
        of them counts before what holds for all linears."""
        said = [self.packing_of(name) for name in names]
        if all(each == said[0] for each in said):
            return said[0]
        usual = self.packing_of("")
        return next(each for each in said if each != usual)


@dataclass(frozen=True)
class Layout(ReadLayout, Storage):
    """A quantization_config, as read and as written."""

    @classmethod
    @abstractmethod
    def of(cls, packed: Packed) -> Layout:
        """The layout of a model that is about to be written."""

    @abstractmethod
    def to_config(self) -> dict[str, Any]:
        """The quantization_config, in the words that its readers know."""

    def written_in(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A model's config with this one in it."""
        return {**config, "quantization_config": self.to_config()}

    def header(
        self, packed: Iterable[Sized], others: Iterable[str], config: Mapping[str, Any]
    ) -> dict[str, str]:
        """What the header of each file says beside the tensors, where readers look for it.

        Args:
            packed: the linears that are packed.
            others: names of the tensors that are not.
            config: of the model.
        """
        return {}

    @property
    def caveat(self) -> str | None:
        """What the user is to know of the readers of a model that is about to be written so."""
        return None
