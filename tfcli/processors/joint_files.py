"""A joint processor's files: the parts and settings that a folder has, and writing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcli.files import write_json, write_text
from tfcli.processors.folder import JOINT
from tfcli.processors.images.base import VisionProcessor
from tfcli.processors.load import load_image_processor, load_video_processor
from tfcli.processors.settings import Settings
from tfcli.processors.text import TextSide
from tfcli.tokenizers.chat_folder import find_templates
from tfcli.tokenizers.declared import read_object

_ELSEWHERE = ("image_processor", "video_processor", "processor_class", "chat_template")


@dataclass(frozen=True)
class JointFiles:
    """What the files of a joint processor hold.

    Args:
        image_processor, text, video_processor: its parts.
        chat_templates: name -> Jinja source.
        settings: of processor_config.json. others: its keys that are none.
    """

    image_processor: VisionProcessor
    text: TextSide
    video_processor: VisionProcessor | None
    chat_templates: Mapping[str, str]
    settings: Settings
    others: dict[str, Any]


def read_joint(folder: Path, defaults: Settings, video_type: str | None) -> JointFiles:
    """Read a joint processor's files.

    Args:
        defaults: the settings where processor_config.json does not say.
        video_type: the class of the video processor where files do not say; None: there is none.

    Raises:
        WorkError: a part that is not there or cannot be read, or a setting that does not fit.
    """
    values = read_object(folder, JOINT)
    settings, others = defaults.read(values, str(folder / JOINT))
    templates = find_templates(folder)
    if isinstance(own := values.get("chat_template"), str):
        templates = {**templates, "default": own}
    return JointFiles(
        load_image_processor(folder),
        TextSide.from_pretrained(folder),
        load_video_processor(folder, video_type) if video_type else None,
        templates,
        settings,
        {key: value for key, value in others.items() if key not in _ELSEWHERE},
    )


def write_joint(folder: Path, files: JointFiles, name: str) -> None:
    """Write a joint processor's files; `name` is its class.

    Raises:
        WorkError: a tokenizer that a tokenizer.json cannot express.
    """
    files.text.save_pretrained(folder)
    parts = {"image_processor": files.image_processor.config()}
    if files.video_processor is not None:
        parts["video_processor"] = files.video_processor.config()
    written = {**files.others, **files.settings.written(), **parts, "processor_class": name}
    write_json(folder / JOINT, written)
    for key, template in files.chat_templates.items():
        if key == "default":
            write_text(folder / "chat_template.jinja", template)
        else:
            (folder / "additional_chat_templates").mkdir(exist_ok=True)
            write_text(folder / "additional_chat_templates" / f"{key}.jinja", template)
