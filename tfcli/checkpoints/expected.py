"""What a config builds: the tensors that a checkpoint of it holds, by name and shape."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.bound import most_values
from tfcli.errors import ModelError
from tfcli.models.errors import TooLargeError

if TYPE_CHECKING:
    from tfcli.models.model import Model

_NO_MATTER = ("dtype", "torch_dtype", "transformers_version", "_name_or_path")


@dataclass(frozen=True)
class Expected:
    """The tensors of a family's model, as a checkpoint that is written today names them.

    Args:
        model: without memory.
        shapes: stored name -> shape; tied tensors under each of their names.
        transposed: the stored names of matrices that are kept [in, out].
        ties: stored name -> that of the tensor which it shares.
    """

    model: Model
    shapes: Mapping[str, tuple[int, ...]]
    transposed: frozenset[str]
    ties: Mapping[str, str]

    @property
    def prefix(self) -> str:
        """What stands before the names of the body, which some checkpoints leave out."""
        return f"{self.model.base()}."

    def spelt(self, name: str) -> str:
        """Today's spelling of a checkpoint's name."""
        from tfcli.models.rules import current_name

        current = current_name(self.model.rules(), name)
        return self._others.get(current, current)

    @cached_property
    def _others(self) -> dict[str, str]:
        return self.model.other_names()

    def place(self, name: str) -> str | None:
        """The key in `shapes` of a name in today's spelling, with the prefix or without."""
        forms = (name, self.prefix + name, name.removeprefix(self.prefix))
        return next((form for form in forms if form in self.shapes), None)

    def reason_to_ignore(self, name: str) -> str | None:
        """Why no model needs a tensor of this name; None: nothing is known of it."""
        return next((w for odd, w in self.model.ignorable().items() if re.search(odd, name)), None)


def expected(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Expected | None:
    """What a config.json builds; None for a family or a setting that is not known.

    Args:
        config: its content.
        shapes: of the tensors that it stands beside, by their names. Of packed checkpoints some
            configs leave it to the names which linears are dense.

    Raises:
        TooLargeError: it asks for far more values than they have.
    """
    from tfcli.models.registry import read_config

    told = {key: value for key, value in config.items() if key not in _NO_MATTER}
    try:
        read_config(told)  # of a family that is not known nothing else need be imported
        names = frozenset(shapes) if config.get("quantization_config") else frozenset()
        at_most = most_values(config, shapes.values())
        return _expected(json.dumps(told, sort_keys=True), at_most, names)
    except TooLargeError:
        raise
    except ModelError:
        return None


@lru_cache(maxsize=8)
def _expected(config: str, at_most: int, stored_names: frozenset[str]) -> Expected:
    from tfcli.models.loading import build
    from tfcli.models.registry import read_config
    from tfcli.models.rules import stacked

    model = build(read_config(json.loads(config)), at_most=at_most)
    if stored_names:
        from tfcli.models.quantized import give_back_dense

        give_back_dense(model, stored_names)
    tensors = model.state_dict(keep_vars=True)
    places = {name: model.place_of(name) for name in tensors}
    shapes = {}
    for stored, names in stacked(places).items():
        place = places[names[0]]
        shape = tuple(place.write(tensors[names[0]]).shape)
        shapes[stored] = shape if place.index is None else (len(names), *shape)
    return Expected(
        model,
        shapes,
        frozenset(place.name for place in places.values() if place.transposed),
        {places[name].name: places[other].name for name, other in model.active_ties().items()},
    )
