"""Images and recordings of rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tfcli.errors import WorkError
from tfcli.predict.parts import Parts


def medium_of(row: Mapping[str, Any], column: str) -> Any:
    """What a row has as an image or a recording, as processors read it.

    Args:
        row: with a path, which leads on from the row's folder; an address `data:...`; a file's
            bytes; a mapping with `bytes` or `path`, as the `datasets` library writes them; or an
            image or an array of Python's.
        column: which.

    Raises:
        WorkError: it is a mapping with neither.
    """
    value = row[column]
    if isinstance(value, Mapping) and "array" not in value:
        value = value.get("bytes") or value.get("path")
        if value is None:
            raise WorkError(f"{column!r} has neither bytes nor a path")
    if isinstance(value, str) and not value.startswith("data:"):
        return Path(row["folder"]) / value
    return value


def pixels_of(parts: Parts, image: Any) -> dict[str, Tensor]:
    """What the model takes of one image, without the dimension of the batch.

    Raises:
        WorkError: it cannot be read.
    """
    made = parts.images(image).to(dtype=parts.model.dtype)
    return {name: tensor[0] for name, tensor in made.items()}


def samples_of(parts: Parts, extractor: Any, row: Mapping[str, Any]) -> Tensor:
    """The samples of a row's recording at the model's rate, [n] float32.

    Args:
        extractor: of the model, which has the rate.
        row: with `audio`, and with `sampling_rate` where that is an array.

    Raises:
        WorkError: it cannot be read.
    """
    from tfcli.processors.audio.load import load_audio

    audio, rate = medium_of(row, "audio"), row.get("sampling_rate")
    if isinstance(audio, Mapping):
        audio, rate = audio["array"], audio.get("sampling_rate")
    return load_audio(audio, extractor.settings.sampling_rate, rate)


def extractor_of(parts: Parts) -> Any:
    """What makes inputs of recordings: a processor's part, or the whole of it.

    Raises:
        WorkError: the checkpoint has none.
    """
    found = getattr(parts.processor, "feature_extractor", parts.processor)
    if not hasattr(getattr(found, "settings", None), "sampling_rate"):
        raise WorkError("the model's files have no feature extractor of audio", where=parts.name)
    return found
