"""What each width of each linear costs, seen on the way through a model that is quantized alike."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from tfcli.checkpoints.hf.safetensors import PendingTensor, SafetensorsFile, write_safetensors
from tfcli.checkpoints.io.dtypes import dtype_code
from tfcli.models.layouts.values import Format, Values
from tfcli.quantize.methods.method import Method, Quantized
from tfcli.quantize.output import Output
from tfcli.quantize.plan import LinearPlan, Unit
from tfcli.quantize.solvers.rtn import weight_error

Errors = dict[str, dict[str, float]]
"""Full name of a linear -> word of an override -> the share of its outputs that is lost."""


class Surveying(Method):
    """A method that also solves for other widths, while what it observed is there.

    Args:
        method: whose values go into the model.
        words: full name -> the widths to solve for.

    Attributes:
        errors: of the linears since `take` was last called.
        alone: their values for the dense model, in the width that `method` gives them.
    """

    calibrated = True
    layouts = ()

    def __init__(self, method: Method, words: Mapping[str, Sequence[str]]) -> None:
        super().__init__(method.spec, method.group_size)
        self.drifts = method.drifts
        self.method, self.words = method, words
        self.errors: Errors = {}
        self.alone: dict[str, Values] = {}

    def format(self, name: str) -> Format:
        """As the method."""
        return self.method.format(name)

    def observe(self, linears: Sequence[LinearPlan], inputs: Tensor, dense: Tensor | None) -> None:
        """As the method."""
        self.method.observe(linears, inputs, dense)

    def forget(self, linear: LinearPlan) -> None:
        """As the method."""
        self.method.forget(linear)

    def quantize(self, linear: LinearPlan, weight: Tensor) -> Quantized:
        """What the method makes of a weight; beside it the other widths are tried."""
        made = self.method.quantize(linear, weight)
        own = self.method.word(linear.name)
        self.errors[linear.name] = {}
        for word in self.words[linear.name]:
            tried = self.method.at(word).quantize(linear, weight)
            # An expert that no token went to has no error of outputs.
            error = tried.output_error or weight_error(weight, tried.values)
            self.errors[linear.name][word] = error
            if word == own:
                self.alone[linear.name] = tried.values
        return made

    def take(self) -> tuple[Errors, dict[str, Values]]:
        """What was seen since the last call."""
        errors, alone = self.errors, self.alone
        self.errors, self.alone = {}, {}
        return errors, alone


class SurveyFiles:
    """What a survey knows of the blocks that are done, one file each.

    Args:
        folder: of the files.
        output: whose plan says how weights are packed.
    """

    def __init__(self, folder: Path, output: Output) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._files = {u.path: folder / f"{n}.safetensors" for n, u in enumerate(output.plan.units)}

    def save(
        self, unit: Unit, made: Mapping[str, Values], alone: Mapping[str, Values], errors: Errors
    ) -> None:
        """Note what became of a block.

        Args:
            unit: which.
            made: full name -> the values in the model.
            alone: full name -> the values to be tried in the dense one.
            errors: of its linears.
        """
        pending = []
        for linear in unit.linears:
            for kind, values in (("made", made), ("alone", alone)):
                parts = linear.packing.pack(values[linear.name].to("cpu"))
                for part, tensor in parts.items():
                    name = f"{linear.name}/{kind}/{part}"
                    code, read = dtype_code(tensor.dtype), partial(_same, tensor)
                    pending.append(PendingTensor(name, code, tuple(tensor.shape), read))
        write_safetensors(self._files[unit.path], pending, {"errors": json.dumps(errors)})

    def finished(self, unit: Unit) -> dict[str, Values] | None:
        """The values in the model; None where the block is not done."""
        return self._values(unit, "made") if self._files[unit.path].is_file() else None

    def alone(self, unit: Unit) -> dict[str, Values]:
        """The values to be tried in the dense model, of a block that is done."""
        return self._values(unit, "alone")

    def errors(self, unit: Unit) -> Errors:
        """Of the linears of a block that is done."""
        errors: Errors = json.loads(SafetensorsFile(self._files[unit.path]).metadata["errors"])
        return errors

    def _values(self, unit: Unit, kind: str) -> dict[str, Values]:
        file = SafetensorsFile(self._files[unit.path])
        found = {}
        for linear in unit.linears:
            parts = linear.packing.parts(linear.in_features, linear.out_features)
            read = {part: file.read(f"{linear.name}/{kind}/{part}") for part in parts}
            found[linear.name] = linear.packing.unpack(read)
        return found


def _same(tensor: Tensor) -> Tensor:
    return tensor
