"""Models that are split into several GGUF files, as llama.cpp's gguf-split makes them.

Each part is a whole GGUF file and says `split.no` of `split.count`; the first one has the metadata.
Their names end in `-00001-of-00003.gguf`.
"""

from __future__ import annotations

import re
from pathlib import Path

from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.io.file_tensor import FileTensor
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError
from tfcli.files import inside

_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
MAX_PARTS = 1000


def is_part(path: Path) -> str | None:
    """What the names of a split model's parts have in common; None: it is a file of its own."""
    match = _NAME.fullmatch(path.name)
    return f"{match['stem']}-of-{match['count']}" if match else None


def parts_beside(path: Path) -> list[Path]:
    """The files beside a part of a split model that are other parts of it, by their names."""
    model = is_part(path)
    if model is None or not path.parent.is_dir():
        return []
    return sorted(file for file in path.parent.glob("*.gguf") if is_part(file) == model)


class SplitFile(GGUFFile):
    """All parts of a model, as one file.

    Args:
        first: the first part. count: how many there are.

    Raises:
        WorkError: a part that is missing or belongs elsewhere, or a tensor that stands twice.
    """

    def __init__(self, first: GGUFFile, count: int) -> None:
        self.path, self.metadata, self.types = first.path, first.metadata, first.types
        self.version, self.alignment = first.version, first.alignment
        self.parts = [first, *(self._part(number, count) for number in range(1, count))]
        self.tensors = {}
        self._homes: dict[str, GGUFFile] = {}
        for part in self.parts:
            for name, info in part.tensors.items():
                if name in self.tensors:
                    raise WorkError(
                        f"the tensor {short(name)} stands in two parts", where=str(part.path)
                    )
                self.tensors[name], self._homes[name] = info, part

    def _part(self, number: int, count: int) -> GGUFFile:
        match = _NAME.fullmatch(self.path.name)
        if match is None or int(match["count"]) != count:
            raise WorkError(
                f"split.count: the model has {count} parts, which the file's name does not tell",
                where=str(self.path),
                fix="name the parts as llama.cpp does: model-00001-of-00003.gguf",
            )
        name = f"{match['stem']}-{number + 1:05d}-of-{count:05d}.gguf"
        part = GGUFFile(inside(self.path.parent, name))
        if (part.metadata.get("split.no"), part.metadata.get("split.count")) != (number, count):
            raise WorkError(f"split.no: it is not part {number} of {count}", where=str(part.path))
        return part

    def tensor(self, name: str) -> FileTensor:
        """As `GGUFFile.tensor`, from the part that has it."""
        self.info(name)
        return self._homes[name].tensor(name)


def open_gguf(path: Path) -> GGUFFile:
    """Open a GGUF file, or all parts of a split one by its first.

    Raises:
        WorkError: as `GGUFFile` and `SplitFile`.
    """
    file = GGUFFile(path)
    count = file.metadata.get("split.count", 0)
    if not isinstance(count, int) or not 0 <= count <= MAX_PARTS:
        raise WorkError("split.count: it is no count of parts", where=str(path))
    if count < 2:
        return file
    if file.metadata.get("split.no") != 0:
        raise WorkError("split.no: this is not the first part", where=str(path), fix="name that")
    return SplitFile(file, count)
