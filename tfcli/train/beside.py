"""What goes with a trained model: the folder of its tokenizer or of its image processor."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.models.config import BaseConfig
from tfcli.tokenizers.load import Tokenizer, load_tokenizer
from tfcli.train.objectives.spec import WITHOUT_TEXT
from tfcli.train.spec import TrainSpec

if TYPE_CHECKING:
    from tfcli.checkpoints.checkpoint import Checkpoint


@dataclass(frozen=True)
class Beside:
    """A folder with what a model needs beside its weights.

    Args:
        folder: the folder.
        held: where it is a temporary one: it is deleted with this.
    """

    folder: Path
    held: tempfile.TemporaryDirectory[str] | None = None


def read_tokenizer(spec: TrainSpec, start: Checkpoint | None) -> Tokenizer:
    """The tokenizer that a spec names, or that of the start.

    Raises:
        WorkError: as `load_tokenizer`.
    """
    if spec.tokenizer is not None:
        return load_tokenizer(spec.tokenizer)
    assert start is not None, "the spec asks for a tokenizer where there is no model"
    return load_tokenizer(start.beside)


def beside_of(spec: TrainSpec, start: Checkpoint | None, config: BaseConfig) -> Beside:
    """What goes with the trained model: the folder of the tokenizer, or of the start; of a new
    model that looks at images, one with a new image processor.

    Raises:
        UsageError: a new model for whose images there is no processor.
    """
    if spec.tokenizer is not None:
        path = Path(spec.tokenizer)
        return Beside(path if path.is_dir() else path.parent)
    if start is not None:
        return Beside(start.beside)
    assert spec.objective in WITHOUT_TEXT, "a new model that reads texts has a tokenizer"
    from tfcli.processors.new import new_image_processor

    held = tempfile.TemporaryDirectory(prefix="tfcli-processor-")
    new_image_processor(config).save_pretrained(held.name)
    return Beside(Path(held.name), held)
