"""Where a base checkpoint keeps the parameters that an adapter names."""

from __future__ import annotations

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.family_rules import family_rules
from tfcli.models.rules import Place, current_name, place_of

_TEXT = "language_model"


class Names:
    """The names of one base checkpoint.

    An adapter says `transformer.h.0.attn.c_attn`; a checkpoint may leave the first part out, use
    an old spelling, or keep the parameter in a stack or transposed. The family's rules know; of a
    family that is not known, names are taken as they are.

    Args:
        base: the checkpoint.
        inputs_first: whether linears are stored [in, out] where the family is not known.
    """

    def __init__(self, base: Checkpoint, *, inputs_first: bool) -> None:
        known = family_rules(base.config)
        self._rules, self._prefix = known or ((), "")
        self._inputs_first = None if known else inputs_first
        self._stored = {current_name(self._rules, name): name for name in base.tensors}
        self.ties = base.ties

    def place(self, parameter: str) -> Place | None:
        """Where a parameter is stored; None when it is not."""
        for name in self._spellings(parameter):
            place = place_of(self._rules, name)
            if self._inputs_first is not None:
                place = Place(place.name, place.index, self._inputs_first)
            for spelt in dict.fromkeys((place.name, place.name.removeprefix(self._prefix))):
                if spelt in self._stored:
                    return Place(self._stored[spelt], place.index, place.transposed)
        return None

    def tie(self, parameter: str) -> str | None:
        """The name of the tied parameter that an adapter means; None when it means none."""
        return next((name for name in self._spellings(parameter) if name in self.ties), None)

    def _spellings(self, parameter: str) -> list[str]:
        found = [parameter, self._prefix + parameter, parameter.removeprefix(self._prefix)]
        parts = parameter.split(".")
        # Inside of a model that sees; where, the versions of a library differ in.
        if _TEXT in parts:
            plain = ".".join(part for part in parts if part != _TEXT)
            body = plain.removeprefix("model.")
            found += [plain, body, f"{_TEXT}.{plain}", f"model.{_TEXT}.{body}"]
        return list(dict.fromkeys(found))
