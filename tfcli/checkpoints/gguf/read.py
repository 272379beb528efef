"""GGUF files: llama.cpp's names and types, as Hugging Face's tensors."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tfcli.checkpoints.beside import GENERATION_CONFIG
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.gguf.endings import generation_config, read_endings
from tfcli.checkpoints.gguf.from_gguf import FromGGUF, plan_from_gguf
from tfcli.checkpoints.gguf.header import is_gguf, kind_of
from tfcli.checkpoints.gguf.imatrix import KIND
from tfcli.checkpoints.gguf.pooling import NORMALIZES, pooling_of
from tfcli.checkpoints.gguf.split import is_part
from tfcli.checkpoints.gguf.vocabulary import CONTROL
from tfcli.checkpoints.gguf.vocabulary_read import write_tokenizer
from tfcli.checkpoints.pooling import write_modules
from tfcli.checkpoints.strict_json import short
from tfcli.errors import UsageError, WorkError
from tfcli.files import write_json

_WEIGHTS_ALONE = "tfcli convert --no-tokenizer takes the weights without it"


def gguf_file(path: Path) -> Path | None:
    """The GGUF file that a path is, or the first one of a folder that holds nothing else to read.

    Of a split model it is the first part, which names the others.
    """
    if path.is_file():
        return path if is_gguf(path) else None
    found = _files(path)
    return found[0] if found else None


def _files(folder: Path) -> list[Path]:
    """Its GGUF files; an importance matrix beside a model, whatever its name, is none of it."""
    found = (file for file in folder.glob("*.gguf") if is_gguf(file))
    return sorted(file for file in found if kind_of(file) != KIND)


def only_file(path: Path) -> Path:
    """The GGUF file of a path that `gguf_file` finds one in.

    Raises:
        UsageError: several models in one folder.
    """
    file = gguf_file(path)
    assert file is not None, "detect() finds GGUF files only"
    models = {is_part(each) or each.name: each for each in _files(path)} if path.is_dir() else {}
    if len(models) > 1:
        names = [each.name for each in models.values()]
        listed = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        raise UsageError(
            f"the folder holds {len(models)} models as GGUF: {listed}",
            where=str(path),
            fix=f"name one of them: {path / names[0]}",
        )
    return file


def read(path: Path, asked: Reading) -> Checkpoint:
    """The view of a GGUF file; quantized tensors come out dense.

    Args:
        path: the file, or its folder.
        asked: `exact` is of the names in the file, see `plan_from_gguf`.

    Raises:
        UsageError: several models in one folder.
        WorkError: a broken file, or an architecture or a setting that is not covered. A tokenizer
            that is not covered is one of what goes along.
    """
    file = only_file(path)
    planned = plan_from_gguf(file, asked.exact)
    files = tuple(dict.fromkeys(info.file for info in planned.file.tensors.values()))
    pooling_of(planned.file.metadata, planned.dialect.arch, str(file))
    return Checkpoint(
        "gguf",
        path,
        planned.config,
        planned.tensors,
        files,
        notes=tuple(f"{short(key)} {why}" for key, why in planned.passed.items()),
        carry=_made_once(planned),
    )


def _made_once(planned: FromGGUF) -> Callable[[Path], list[str]]:
    """What writes the files that go along; the second time they are copied, for a large vocabulary
    takes seconds to make.
    """
    made: list[tuple[tempfile.TemporaryDirectory[str], list[str]]] = []

    def carry(folder: Path) -> list[str]:
        if not made:
            place = tempfile.TemporaryDirectory(prefix="tfcli-")
            made.append((place, _carry(planned, Path(place.name))))
        place, names = made[0]
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(Path(place.name, name), folder / name)
        return list(names)

    return carry


def _carry(planned: FromGGUF, folder: Path) -> list[str]:
    from tfcli.tokenizers.load import load_tokenizer

    metadata, where = planned.file.metadata, str(planned.file.path)
    names = []
    try:
        vocabulary = planned.vocabulary
        if vocabulary is not None:
            names += write_tokenizer(vocabulary, folder)
            load_tokenizer(folder)
    except WorkError as error:
        # What was written for it lies in a folder that the user does not know.
        key = error.where if error.where and error.where.startswith(where) else where
        raise WorkError(f"its tokenizer: {error.what}", where=key, fix=_WEIGHTS_ALONE) from error
    if vocabulary is not None:
        stops = read_endings(metadata, vocabulary.tokens, vocabulary.types, CONTROL)
        generation = generation_config(metadata, stops, planned.config, where)
        if generation is not None:
            write_json(folder / GENERATION_CONFIG, generation)
            names.append(GENERATION_CONFIG)
    pooling = pooling_of(metadata, planned.dialect.arch, where)
    if pooling is not None:
        normalizes = metadata.get(NORMALIZES, True) is True
        names += write_modules(pooling, planned.sizes.hidden_size, normalizes, folder)
    return names
