"""The processor that a folder has, whichever kind that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfcli.errors import WorkError
from tfcli.processors.folder import SINGLE, VIDEO, find_part, model_type, processor_class
from tfcli.processors.registry import (
    IMAGES_OF_MODEL_TYPE,
    JOINT_OF_MODEL_TYPE,
    find,
)
from tfcli.tokenizers.files import find_vocabulary
from tfcli.tokenizers.load import load_tokenizer


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


def load_video_processor(folder: Path | str, default: str) -> Any:
    """The video processor of a folder, by video_processor_type.

    Older folders have no settings for videos; those for images hold for both then.

    Args:
        folder: of the checkpoint. default: the class where the settings name none.

    Raises:
        WorkError: no settings, settings that cannot be read, or a class that is not known.
    """
    found = find_part(folder, "video_processor")
    if found is None:
        raise WorkError(f"there is no {VIDEO}", where=str(folder))
    name = found.name("video_processor_type") or default
    return find(name, found.where).from_pretrained(folder)


def load_processor(folder: Path | str) -> Any:
    """Whatever processor a folder has.

    A joint processor where the files name one (`processor_class`) or the model_type has one and
    there are settings for media, else an image processor or a feature extractor, else a tokenizer.

    Raises:
        WorkError: a class that is not known, or files that cannot be read.
    """
    kind = model_type(folder) or ""
    if named := processor_class(folder):
        return find(*named).from_pretrained(folder)
    settings = find_part(folder, "image_processor") or find_part(folder, "feature_extractor")
    if settings is None:
        return load_tokenizer(folder)
    where = settings.where
    if kind in JOINT_OF_MODEL_TYPE and find_vocabulary(Path(folder)) is not None:
        return find(JOINT_OF_MODEL_TYPE[kind], where).from_pretrained(folder)
    single = settings.name("feature_extractor_type", "image_processor_type")
    if single is None or settings.name("image_processor_type"):
        return load_image_processor(folder)
    return find(single, where).from_pretrained(folder)
