"""A checkpoint's tensors by name, whether they lie in one file or in many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.checkpoints.header import TensorInfo
from tfcli.checkpoints.safetensors import SafetensorsFile
from tfcli.checkpoints.strict_json import parse_object, short
from tfcli.errors import WorkError
from tfcli.files import inside

if TYPE_CHECKING:
    from torch import Tensor

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_INCOMPLETE = "get the checkpoint again: its index and its files do not belong together"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class TensorSource(Mapping[str, "Tensor"]):
    """Tensors by name. Headers are read on opening, data when a tensor is asked for.

    Each lookup gives a memory-mapped tensor; see `SafetensorsFile.read`.

    Args:
        files: the opened files, none of which repeats a tensor of another.
    """

    def __init__(self, files: Iterable[SafetensorsFile]) -> None:
        self.files = tuple(files)
        self._home: dict[str, SafetensorsFile] = {}
        for file in self.files:
            for name in file.tensors:
                other = self._home.setdefault(name, file)
                if other is not file:
                    raise WorkError(
                        f"the tensor {short(name)} stands in {other.path.name} "
                        f"and in {file.path.name}",
                        where=str(file.path),
                        fix=_INCOMPLETE,
                    )

    def __getitem__(self, name: str) -> Tensor:
        return self._home[name].read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._home)

    def __len__(self) -> int:
        return len(self._home)

    def __contains__(self, name: object) -> bool:
        # Mapping's own test would read the tensor.
        return name in self._home

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of the files and of the data in them."""
        return tuple(self._home)

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors."""
        return sum(info.nbytes for info in self.infos())

    def info(self, name: str) -> TensorInfo:
        """What the header says of a tensor: dtype code, shape, file, nbytes."""
        return self._home[name].tensors[name]

    def infos(self) -> Iterator[TensorInfo]:
        """What the headers say of all tensors."""
        return (file.tensors[name] for name, file in self._home.items())


def open_checkpoint(path: Path) -> TensorSource:
    """Open a Hugging Face folder, or a single safetensors file.

    A folder holds `model.safetensors`, or `model.safetensors.index.json` and the shards that it
    names. When it holds both, the single file counts, as in transformers.

    Raises:
        WorkError: no weights, weights of a kind that is not read, a shard that is missing or lies
            outside the folder, an index that does not match the shards, a broken file.
    """
    if not path.is_dir():
        return TensorSource([SafetensorsFile(path)])
    if (path / SINGLE).is_symlink() or (path / SINGLE).exists():
        return TensorSource([SafetensorsFile(inside(path, SINGLE))])
    if (path / INDEX).is_symlink() or (path / INDEX).exists():
        return _open_sharded(path)
    raise _no_weights(path)


def read_index(path: Path) -> dict[str, str]:
    """The `weight_map` of an index file: which shard holds which tensor.

    Raises:
        WorkError: the file cannot be read or has no such map of texts.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WorkError(f"cannot be read: {error.strerror}", where=str(path)) from error
    found = parse_object(data, where=str(path)).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise WorkError("weight_map: expected shard names by tensor name", where=str(path))
    for name, shard in found.items():
        if not isinstance(shard, str):
            raise WorkError(f"weight_map: {short(name)} names no file", where=str(path))
    return found


def _open_sharded(folder: Path) -> TensorSource:
    index = inside(folder, INDEX)
    wanted = read_index(index)
    # Every name is checked before the first file is opened.
    paths = {shard: inside(folder, shard) for shard in sorted(set(wanted.values()))}
    missing = [shard for shard, path in paths.items() if not path.is_file()]
    if missing:
        raise WorkError(
            f"weight_map: {len(missing)} of {len(paths)} shards are missing, "
            f"the first is {short(missing[0])}",
            where=str(index),
            fix=_INCOMPLETE,
        )
    source = TensorSource(SafetensorsFile(path) for path in paths.values())
    for name, shard in wanted.items():
        if name not in source:
            raise WorkError(
                f"weight_map: {short(name)} is not in {shard}", where=str(index), fix=_INCOMPLETE
            )
        held = source.info(name).file
        if held != paths[shard]:
            raise WorkError(
                f"weight_map: {short(name)} is in {held.name}, not in {shard}",
                where=str(index),
                fix=_INCOMPLETE,
            )
    extra = [info for info in source.infos() if info.name not in wanted]
    if extra:
        raise WorkError(
            f"weight_map: {len(extra)} tensors are not listed, "
            f"the first is {short(extra[0].name)} of {extra[0].file.name}",
            where=str(index),
            fix=_INCOMPLETE,
        )
    return source


def _no_weights(folder: Path) -> WorkError:
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        return WorkError(
            f"only pickled weights are here ({pickles[0]}); they can run code and are not read",
            where=str(folder),
            fix="resave as safetensors with the tool that wrote it, such as transformers' "
            "save_pretrained",
        )
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if others:
        return WorkError(
            f"neither {SINGLE} nor {INDEX} is here, but {others[0]}",
            where=str(folder),
            fix=f"name the file itself, or rename it to {SINGLE}",
        )
    return WorkError(
        f"no weights are here: neither {SINGLE} nor {INDEX}",
        where=str(folder),
        fix="name a Hugging Face checkpoint folder",
    )
