"""The models of a report, and which evals and benchmarks belong to which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from tfcli.quantize.result_spec import QuantizeResult
from tfcli.report.steps import Step

WEIGHTS = (".safetensors", ".bin", ".gguf")
MAKERS = ("train", "convert", "quantize")
DENSE = "dense"


@dataclass(frozen=True)
class Model:
    """One model.

    Args:
        label: what figures and tables call it.
        source: the name of the step that made it, or the path or hub id for one made elsewhere.
        method: how it was quantized; `dense` when it was not, "" when that is not known.
        bits: of a quantized weight.
        group_size: weights that share a scale; -1 for a whole row.
        bytes: of its weight files; None for one made elsewhere.
        made_of: what a quantized model was made of.
        source_bytes: of that.
        color: the number of its method's colour.
    """

    label: str
    source: str
    method: str
    bits: int | None = None
    group_size: int | None = None
    bytes: int | None = None
    made_of: str = ""
    source_bytes: int | None = None
    color: int = 0


class Models:
    """The models that the steps made or used, found by content first and by path second."""

    def __init__(self, steps: Sequence[Step]) -> None:
        makers = [step for step in steps if step.command in MAKERS]
        self._digests = {step.digest: step.folder for step in reversed(makers)}
        self.warnings: list[str] = []
        made = _color(_label([_model(step) for step in makers]))
        self._models = {step.folder: model for step, model in zip(makers, made, strict=True)}
        for step in makers:
            if step.command == "quantize":
                self._models[step.folder] = self._with_source(step)

    @property
    def all(self) -> list[Model]:
        """In the order of the steps that made them; those made elsewhere come last."""
        return list(self._models.values())

    def _with_source(self, step: Step) -> Model:
        """A quantized model with what it was made of, whether that is in the report or not."""
        made, model = step.value(QuantizeResult), self._models[step.folder]
        digest = step.record["inputs"].get(made.model, "")
        source = self._models.get(self._digests.get(digest, Path(made.model).resolve()))
        if source is not None and source.bytes:
            return replace(model, made_of=source.label, source_bytes=source.bytes)
        name = PurePath(made.model).name or made.model
        return replace(model, made_of=name, source_bytes=made.bytes_before)

    def of(self, step: Step, reference: str) -> Model:
        """The model that an eval or a benchmark names.

        Args:
            step: the step that used it.
            reference: the path or hub id in that step's options.
        """
        digest = step.record["inputs"].get(reference)
        folder = Path(reference).resolve()
        if digest in self._digests:
            folder = self._digests[digest]
        elif folder in self._models:
            self.warnings.append(
                f"{step.name} used another version of {self._models[folder].source}; "
                "its figures are of that version"
            )
        if folder not in self._models:
            name = PurePath(reference).name or reference
            self._models[folder] = Model(name, reference, "", color=5)
            if digest is not None:
                self._digests[digest] = folder
        return self._models[folder]


def weight_bytes(step: Step) -> int:
    """Bytes of a step's weight files."""
    files = step.record["files"].items()
    return sum(int(file["bytes"]) for name, file in files if name.endswith(WEIGHTS))


def _model(step: Step) -> Model:
    size = weight_bytes(step)
    if step.command == "quantize":
        made = step.value(QuantizeResult)
        label = f"{made.method.upper()} {made.bits}-bit"
        return Model(label, step.name, made.method, made.bits, made.group_size, size)
    label = DENSE if step.command == "train" else step.name
    return Model(label, step.name, DENSE, bytes=size)


def _label(models: list[Model]) -> list[Model]:
    """Labels that differ: the group size is added where that helps, else the step's name."""
    for addition in ("group", "source"):
        count = Counter(model.label for model in models)
        for index, model in enumerate(models):
            if count[model.label] == 1:
                continue
            if addition == "source":
                models[index] = replace(model, label=f"{model.label} ({model.source})")
            elif model.group_size is not None:
                models[index] = replace(model, label=f"{model.label} {group_text(model)}")
    return models


def group_text(model: Model) -> str:
    """A group size as people write it."""
    if model.group_size is None:
        return ""
    return "per row" if model.group_size == -1 else f"g{model.group_size}"


def _color(models: list[Model]) -> list[Model]:
    """One colour a method, in the order in which methods come up; dense is ink."""
    methods = dict.fromkeys(model.method for model in models if model.method != DENSE)
    palette = (2, 1, 3, 4)
    color = {method: palette[index % 4] for index, method in enumerate(methods)}
    return [replace(model, color=color.get(model.method, 0)) for model in models]
