"""What a checkpoint's folder says of its processors: the file that counts, the class it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tfcli.errors import WorkError
from tfcli.tokenizers.declared import read_object

JOINT = "processor_config.json"
SINGLE = "preprocessor_config.json"
VIDEO = "video_preprocessor_config.json"

Part = Literal["image_processor", "video_processor", "feature_extractor"]


@dataclass(frozen=True)
class Found:
    """The settings of one processor.

    Args:
        values: the object that has them. where: its file, for errors.
    """

    values: dict[str, Any]
    where: str

    def name(self, *keys: str) -> str | None:
        """The text of the first of some keys that the object has; None without one.

        Raises:
            WorkError: it is no text.
        """
        for key in keys:
            value = self.values.get(key)
            if value is not None:
                if not isinstance(value, str):
                    raise WorkError(f"{key} is no text", where=self.where)
                return value
        return None


def find_part(folder: Path | str, name: Part) -> Found | None:
    """The settings of one part, as transformers looks for them; None where there is no file.

    processor_config.json has them under the part's name where transformers 5 wrote it. Else a file
    by itself has them: preprocessor_config.json, and for video video_preprocessor_config.json
    before that.

    Raises:
        WorkError: a file that cannot be read, or that has no object there.
    """
    folder = Path(folder)
    nested = read_object(folder, JOINT).get(name)
    if nested is not None:
        where = f"{folder / JOINT}, {name}"
        if not isinstance(nested, dict):
            raise WorkError("expected a JSON object", where=where)
        return Found(nested, where)
    for file in (VIDEO, SINGLE) if name == "video_processor" else (SINGLE,):
        if values := read_object(folder, file):
            return Found(values, str(folder / file))
    return None


def processor_class(folder: Path | str) -> tuple[str, str] | None:
    """The joint processor that a folder names, and the file that does; None where none does.

    Raises:
        WorkError: a file that cannot be read.
    """
    for file in (JOINT, SINGLE, "tokenizer_config.json"):
        path = Path(folder) / file
        if name := Found(read_object(Path(folder), file), str(path)).name("processor_class"):
            return name, str(path)
    return None


def model_type(folder: Path | str) -> str | None:
    """The model_type of the folder's config.json; None where there is none."""
    value = read_object(Path(folder), "config.json").get("model_type")
    return value if isinstance(value, str) else None
