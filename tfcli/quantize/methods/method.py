"""What a quantization method is to the walk: what it makes, what it looks at, and how."""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from tfcli.models.folding import Fold
from tfcli.models.layouts.values import Format, Values
from tfcli.process_group import Processes
from tfcli.quantize.finite import require_finite
from tfcli.quantize.overrides import Override, width_of, word_for
from tfcli.quantize.plan import LinearPlan
from tfcli.quantize.spec import QuantizeSpec


@dataclass(frozen=True)
class Quantized:
    """A quantized weight and how it went.

    Args:
        values: the weight, on its device.
        output_error: ||WX - QX||^2 / ||WX||^2 over the calibration inputs.
        damping: that was used.
        dead_inputs: inputs that were zero in all of the calibration data.
        coarse_scales: groups whose weights are too small for the scales that are stored.
    """

    values: Values
    output_error: float | None = None
    damping: float | None = None
    dead_inputs: int | None = None
    coarse_scales: int | None = None


class Method(ABC):
    """A quantization method with its options.

    `calibrated` says whether it must see the inputs of linears before it quantizes them, `drifts`
    whether it wants those of the dense model beside them, `layouts` which layouts its values fit
    in, the usual one first, and `usual_group_size` how many inputs share a scale where nothing is
    asked for; None for what fits the model. What was observed of a linear takes at most `squares`
    squares of its inputs, in fp32. `folds` says whether it moves factors into what comes before
    linears. Such a method observes all linears of a block before any of it is changed, is then
    asked for factors, pair by pair, and quantizes one linear after the other; it cannot drift.

    Args:
        spec: what was asked for.
        group_size: inputs that share a scale; -1 for all.
    """

    calibrated: ClassVar[bool] = False
    drifts: bool = False
    folds: ClassVar[bool] = False
    squares: int = 0
    layouts: ClassVar[tuple[str, ...]]
    usual_group_size: ClassVar[int | None] = None

    def __init__(self, spec: QuantizeSpec, group_size: int) -> None:
        self.spec, self.group_size = spec, group_size
        self._overrides = spec.exceptions()
        self._named: dict[str, str] = {}

    def name(self, name: str, word: str) -> None:
        """Let the linear with this full name be as a word says, whatever the overrides say."""
        self._named[name] = word

    def word(self, name: str) -> str | None:
        """What was said of the linear with this full name."""
        return self._named.get(name) or word_for(self._overrides, name)

    def width(self, name: str) -> tuple[int, int]:
        """Bits and group size of the linear with this full name, as they were asked for."""
        word = self.word(name)
        bits, group_size = (self.spec.bits, None) if word is None else width_of(word)
        return bits, group_size or self.group_size

    def at(self, word: str) -> Self:
        """The same method, with what it has observed, for linears that are as an override's word
        says and stand in the dense model."""
        other = copy.copy(self)
        other._overrides, other._named = [Override(re.compile(""), word)], {}
        return other

    @abstractmethod
    def format(self, name: str) -> Format:
        """What it makes of the linear with this full name."""

    def check(self, linear: LinearPlan, weight: Tensor) -> None:
        """Refuse, before the long work, a weight that it cannot quantize.

        Raises:
            WorkError: names the tensor.
        """
        require_finite(linear.stored_name, weight)

    def observe(self, linears: Sequence[LinearPlan], inputs: Tensor, dense: Tensor | None) -> None:
        """See one batch of inputs of linears that share them; only if `calibrated`.

        Args:
            linears: those that share the inputs.
            inputs (Tensor): [b, s, n], of an expert [tokens, n]: as the blocks before, which are
                quantized, give them, and in the type in which the linear multiplies them, fp32 or
                bf16.
            dense (Tensor): the same tokens as the dense model has them, alike in shape; None
                where the method does not ask for them (`drifts`), and of experts, whose tokens may
                be others there.
        """
        raise TypeError(f"{type(self).__name__} observes nothing")

    def merge(self, linears: Sequence[LinearPlan], processes: Processes) -> None:
        """Add what other processes have observed of linears that share inputs; all call it alike.

        This one may not have observed them, where it got none of an expert's tokens.
        """
        raise TypeError(f"{type(self).__name__} observes nothing")

    def forget(self, linear: LinearPlan) -> None:
        """Drop what was observed of a linear: it is done, or what was seen is too little."""
        raise TypeError(f"{type(self).__name__} observes nothing")

    def fold(
        self, fold: Fold, linears: Sequence[LinearPlan], weights: Sequence[Tensor]
    ) -> Tensor | None:
        """The factors of a pair; only if `folds`. See `models/folding.py`.

        The walk divides the source's outputs by them, multiplies the columns of every reader, and
        writes what else changes, norms and biases, in the place of what is stored. Weights come to
        `quantize` with their factors then; what was observed is of inputs without them.

        Args:
            fold: the pair.
            linears: those of its readers that are quantized. Others (routers, linears that stay as
                they are) follow without being asked.
            weights (Tensor): theirs, fp32 [m, n], with the factors of the pairs before.

        Returns:
            fp32 [k], finite and above 0; None to leave the pair as it is
        """
        raise TypeError(f"{type(self).__name__} folds nothing")

    @abstractmethod
    def quantize(self, linear: LinearPlan, weight: Tensor) -> Quantized:
        """Quantize the weight [m, n] of a linear. An expert that no token went to has not been
        observed. What was observed stays until it is forgotten."""

    def notes(self) -> dict[str, Any]:
        """What the config says of the method; readers ignore it."""
        return {}
