"""FlagAI's folders for `tfcli convert`: tensors under Hugging Face's names, as they are stored."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.flagai.folders import open_folder
from tfcli.checkpoints.flagai.weights import is_weights
from tfcli.checkpoints.io.dtypes import dtype_code, stored_shape


def read(path: Path, asked: Reading) -> Checkpoint:
    """The view of a FlagAI folder, or of one with the files of model-parallel ranks.

    Raises:
        WorkError: files that cannot be read.
        ModelError: a config that is not built.
    """
    opened = open_folder(path)
    tensors = {}
    for name, rows in opened.tensors.places.items():
        like = opened.tensors.shape_of(name)
        code = dtype_code(like.dtype)
        part = "" if rows.of == 1 else f"rows {rows.part + 1} of {rows.of}"
        read = partial(opened.tensors.__getitem__, name)
        shape = stored_shape(code, tuple(like.shape))
        tensors[name] = TensorEntry(name, code, shape, (rows.name,), part, read)
    files = tuple(sorted(one for one in path.iterdir() if is_weights(one.name)))
    unused = opened.tensors.skipped
    return Checkpoint("flagai", path, opened.config, tensors, files, companions=path, unused=unused)
