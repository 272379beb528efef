"""The processor that a folder has, whichever kind that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfcli.errors import WorkError
from tfcli.processors.folder import SINGLE, find_part, model_type
from tfcli.processors.registry import IMAGES_OF_MODEL_TYPE, find


def load_image_processor(folder: Path | str) -> Any:
    """The image processor of a folder.

    Its class is what the settings name as image_processor_type, or in older files as
    feature_extractor_type; where they name none, that of the model_type in config.json.

    Raises:
        WorkError: no settings, settings that cannot be read, or a class that is not known.
    """
    found = find_part(folder, "image_processor")
    if found is None:
        raise WorkError(f"there is no {SINGLE}", where=str(folder))
    name = found.name("image_processor_type", "feature_extractor_type")
    name = name or IMAGES_OF_MODEL_TYPE.get(model_type(folder) or "")
    if name is None:
        raise WorkError(
            "it does not say which image processor it is for",
            where=found.where,
            fix='add "image_processor_type", such as "CLIPImageProcessor"',
        )
    return find(name, found.where).from_pretrained(folder)
