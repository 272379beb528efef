"""Which layers' states are feature maps, for models whose images stay images (detection and such).

Stages are `stem`, what the first block gets, and `stage1` to `stageN`, what each block gives. A
config names them (`out_features`) or counts them (`out_indices`, from the end if negative).
"""

from __future__ import annotations

import dataclasses
from collections import Counter

from tfcli.models.config import require
from tfcli.models.configs.vision import VisionConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureMapConfig(VisionConfig):
    """A vision transformer whose states can be asked for as feature maps.

    Args:
        out_features: names of the stages; None: those of out_indices.
        out_indices: numbers of the stages; None: those of out_features, or the last one.
    """

    out_features: list[str] | None = None
    out_indices: list[int] | None = None

    @property
    def apply_layernorm(self) -> bool:
        """Whether feature maps go through the final norm."""
        return True

    @property
    def reshape_hidden_states(self) -> bool:
        """Whether feature maps are [b, d, h, w], without leading tokens, or states as they are."""
        return True

    @property
    def stages(self) -> list[str]:
        """The names of all stages."""
        return ["stem", *(f"stage{at}" for at in range(1, self.num_hidden_layers + 1))]

    @property
    def chosen_stages(self) -> list[int]:
        """The numbers of the stages whose states are feature maps, from 0."""
        stages = self.stages
        if self.out_features is not None:
            return [stages.index(name) for name in self.out_features]
        if self.out_indices is not None:
            return [at % len(stages) for at in self.out_indices]
        return [len(stages) - 1]

    def check(self) -> None:
        super().check()
        stages, names, numbers = self.stages, self.out_features, self.out_indices
        known = f"the stages are {', '.join(_shortened(stages))}"
        for name in names or ():
            require(name in stages, "out_features", f"names {name!r}, but {known}")
        for number in numbers or ():
            within = -len(stages) <= number < len(stages)
            require(within, "out_indices", f"has {number}, but {known}, so 0 to {len(stages) - 1}")
        if names is not None:
            _require_order("out_features", names, [stages.index(name) for name in names])
        if numbers is not None:
            _require_order("out_indices", numbers, [at % len(stages) for at in numbers])
        if names is not None and numbers is not None:
            counted = [stages[at] for at in numbers]
            require(
                names == counted,
                "out_features",
                f"is {names}, but out_indices {numbers} means {counted}; give one of the two",
            )


def _require_order(key: str, given: list[str] | list[int], places: list[int]) -> None:
    """Refuse stages that are named twice, or that stand before an earlier one."""
    require(bool(given), key, "names no stage")
    twice = [place for place, count in Counter(places).items() if count > 1]
    if twice:
        named = [each for each, place in zip(given, places, strict=True) if place == twice[0]]
        require(False, key, f"names a stage twice: {named[0]} and {named[1]}")
    ordered = [each for _, each in sorted(zip(places, given, strict=True))]
    require(ordered == given, key, f"is {given}, out of order; the order is {ordered}")


def _shortened(names: list[str]) -> list[str]:
    return names if len(names) < 6 else [*names[:2], "...", names[-1]]
