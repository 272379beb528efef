"""A checkpoint's tensors by name, whether they lie in one file or in many."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tfcli.checkpoints.hf.container import INDEX, SINGLE
from tfcli.checkpoints.hf.index import read_index
from tfcli.checkpoints.hf.safetensors import SafetensorsFile
from tfcli.checkpoints.io.header import TensorInfo
from tfcli.checkpoints.strict_json import MAX_BYTES, parse_object, short
from tfcli.checkpoints.torch.file import TorchFile, is_torch_file
from tfcli.errors import WorkError
from tfcli.files import inside, read_bounded
from tfcli.stand_ins import refuse_stand_in

if TYPE_CHECKING:
    from torch import Tensor

GPTQ_SETTINGS = "quantize_config.json"
QUANTO_MAP = "quanto_qmap.json"
SETTINGS_BESIDE = {GPTQ_SETTINGS: "gptq", "quant_config.json": "awq", QUANTO_MAP: "quanto"}
"""Files of settings that quantizers write beside config.json -> their quant_method."""
PICKLED = "pytorch_model.bin"
PICKLED_INDEX = "pytorch_model.bin.index.json"
_END = r"\.(?P<end>safetensors|bin|pt|pth)"
_OF_MANY = re.compile(r"(?P<stem>.*?)-?(?P<number>\d+)-of-(?P<total>\d+)" + _END)
_TORCHTUNE = re.compile(r"(?P<stem>hf_model_)(?P<number>\d+)_(?P<epoch>\d+)" + _END)
_INCOMPLETE = "get the checkpoint again: its index and its files do not belong together"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# Files of torch.save that trainers leave beside the weights.
_TRAINING = ("training_args", "optimizer", "scheduler", "scaler", "rng_state", "random_states")


# What other frameworks keep weights in, by the ends of names.
_NOT_READ = {
    ".h5": "TensorFlow's",
    ".msgpack": "Flax's",
    ".ckpt.index": "TensorFlow's",
    ".onnx": "a graph of ONNX",
    ".ot": "those of rust-bert",
    ".npz": "arrays of NumPy",
    ".nemo": "an archive of NeMo",
    ".engine": "an engine of TensorRT",
}


class TensorFile(Protocol):
    """A file of tensors, of any container: what it holds is known, values are read on request."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """What it holds, by name, in the order of the data."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """What it says beside the tensors."""

    def tensor(self, name: str) -> Callable[[], Tensor]:
        """What reads the tensor `name`; a `FileTensor` where the container allows it."""


class TensorSource(Mapping[str, "Tensor"]):
    """Tensors by name. Headers are read on opening, data when a tensor is asked for.

    Each lookup reads the tensor into memory of its own, but for those of files of torch.save that
    overlap; see `TorchFile.read`.

    Args:
        files: the opened files, none of which repeats a tensor of another.
    """

    def __init__(self, files: Iterable[TensorFile]) -> None:
        self.files = tuple(files)
        self._home: dict[str, TensorFile] = {}
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
        return self.tensor(name)()

    def tensor(self, name: str) -> Callable[[], Tensor]:
        """What reads a tensor; a `FileTensor` where the container allows it."""
        return self._home[name].tensor(name)

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

    @property
    def beside(self) -> dict[str, str]:
        """What files of torch.save hold beside the weights: a name, and what it is.

        Counters, settings, an optimizer's state; see `TorchFile.extras` for the values.
        """
        pickled = (file for file in self.files if isinstance(file, TorchFile))
        return {name: what for file in pickled for name, what in file.metadata.items()}

    def info(self, name: str) -> TensorInfo:
        """What the header says of a tensor: dtype code, shape, file, nbytes."""
        return self._home[name].tensors[name]

    def infos(self) -> Iterator[TensorInfo]:
        """What the headers say of all tensors."""
        return (file.tensors[name] for name, file in self._home.items())


def open_tensors(path: Path) -> TensorSource:
    """Open a Hugging Face folder, or a single file of safetensors or torch.save.

    A folder holds `model.safetensors`, or `model.safetensors.index.json` and the shards that it
    names; or `pytorch_model.bin`, or its index and shards; or the file that quantize_config.json
    names; or a complete set of numbered shards without an index; or one other file of torch.save.
    The first of these counts. Of which kind a file is, its content says.

    Args:
        path: the folder or file.

    Raises:
        WorkError: no weights, weights of a kind that is not read, a shard that is missing or lies
            outside the folder, an index that does not match the shards, a broken file, a pickle
            that asks for more than data.
    """
    if not path.is_dir():
        return TensorSource([open_file(path)])
    for single, index in ((SINGLE, INDEX), (PICKLED, PICKLED_INDEX)):
        if (path / single).is_symlink() or (path / single).exists():
            return TensorSource([open_file(inside(path, single))])
        if (path / index).is_symlink() or (path / index).exists():
            return _open_sharded(path, index)
    packed = _named_by_gptq(path)
    if packed is not None:
        return TensorSource([open_file(inside(path, packed))])
    together = complete_set(path)
    if together:
        return TensorSource(open_file(inside(path, n)) for n in together)
    pickles = _other_pickles(path)
    if len(pickles) == 1:
        return TensorSource([open_file(inside(path, pickles[0]))])
    raise _no_weights(path, pickles)


def open_file(path: Path) -> TensorFile:
    """Open one file of weights of the kind that its first bytes tell.

    Raises:
        WorkError: a broken file, another file in its place, or one of torch.save that holds no
            tensors.
    """
    refuse_stand_in(path)
    if not is_torch_file(path):
        return SafetensorsFile(path)
    file = TorchFile(path)
    if not file.tensors:
        held = ", ".join(f"{name} {what}".strip() for name, what in file.metadata.items())
        raise WorkError(f"holds no tensors, but {held[:200] or 'nothing'}", where=str(path))
    return file


def _open_sharded(folder: Path, name: str) -> TensorSource:
    index = inside(folder, name)
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
    source = TensorSource(open_file(path) for path in paths.values())
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


def _other_pickles(folder: Path) -> list[str]:
    """Files of torch.save that may be weights, by another name than transformers gives them."""
    return sorted(
        path.name
        for pattern in _PICKLES
        for path in folder.glob(pattern)
        if not path.name.startswith((".", *_TRAINING)) and is_torch_file(path)
    )


def _named_by_gptq(folder: Path) -> str | None:
    """The weights' file as AutoGPTQ names it, in quantize_config.json or by its own default."""
    settings = settings_beside(folder).get(GPTQ_SETTINGS)
    if settings is None:
        return None
    own = f"gptq_model-{settings.get('bits')}bit-{settings.get('group_size')}g"
    for base in (settings.get("model_file_base_name"), own):
        for ending in (".safetensors", ".bin", ".pt"):
            if isinstance(base, str) and (folder / f"{base}{ending}").is_file():
                return f"{base}{ending}"
    return None


def settings_beside(folder: Path) -> dict[str, dict[str, Any]]:
    """The content of those files of `SETTINGS_BESIDE` that a folder has: where GPTQ's libraries and
    AutoAWQ kept their settings before config.json had a place for them, and where quanto names
    what it has quantized."""
    found = {}
    for name in SETTINGS_BESIDE:
        if (folder / name).is_file():
            path = inside(folder, name)
            found[name] = parse_object(read_bounded(path, MAX_BYTES), where=str(path))
    return found


def complete_set(folder: Path) -> list[str]:
    """The files of weights that are numbered from the first to the last, in order; empty: none.

    Raises:
        WorkError: some of the numbers are missing, or there are several sets.
    """
    sets: dict[tuple[str, ...], dict[int, str]] = {}
    for path in sorted(folder.iterdir()):
        found = shard_of(path.name)
        if found is not None:
            kind, number = found
            sets.setdefault(kind, {})[number] = path.name
    if not sets:
        return []
    chosen = {kind: files for kind, files in sets.items() if kind[-1] == "safetensors"} or sets
    if len(chosen) > 1:
        some = ", ".join(next(iter(files.values())) for files in chosen.values())
        raise WorkError(
            f"the folder holds several sets of shards ({some}) and no index",
            where=str(folder),
            fix="leave one set in the folder",
        )
    (((_, total, _), files),) = chosen.items()
    first = 0 if 0 in files else 1
    count = int(total) if total else max(files) - first + 1
    if files.keys() != set(range(first, first + count)):
        raise WorkError(
            f"{len(files)} shards are here, such as {next(iter(files.values()))}, and neither the "
            f"others nor {INDEX}, which says what belongs together",
            where=str(folder),
            fix="get the missing files; every shard is needed",
        )
    return [files[number] for number in sorted(files)]


def shard_of(name: str) -> tuple[tuple[str, str, str], int] | None:
    """What set a file of weights belongs to, by its name, and its number in it; None: no shard.

    The set is its name without the number, how many there are (empty: it does not say) and its
    ending.
    """
    match = _OF_MANY.fullmatch(name)
    if match is not None:
        return (match["stem"], str(int(match["total"])), match["end"]), int(match["number"])
    match = _TORCHTUNE.fullmatch(name)
    if match is None:
        return None
    return (match["stem"] + match["epoch"], "", match["end"]), int(match["number"])


def _no_weights(folder: Path, pickles: list[str]) -> WorkError:
    if pickles:
        return WorkError(
            f"{len(pickles)} files of torch.save are here ({', '.join(pickles[:3])}, ...) and no "
            f"{PICKLED_INDEX} says how they belong together",
            where=str(folder),
            fix="name one of the files",
        )
    for path in sorted(folder.glob("*.gguf")):
        refuse_stand_in(path)
    quantized = sorted(path.name for path in folder.glob("*.gguf"))
    if quantized:
        return WorkError(
            f"the folder holds GGUF files and no other weights: {', '.join(quantized[:3])}",
            where=str(folder),
            fix=f"name the file itself: {folder / quantized[0]}",
        )
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if others:
        return WorkError(
            f"neither {SINGLE} nor {INDEX} is here, but {others[0]}",
            where=str(folder),
            fix=f"name the file itself, or rename it to {SINGLE}",
        )
    theirs = sorted(p.name for p in folder.iterdir() if p.name.endswith(tuple(_NOT_READ)))
    if theirs:
        kind = next(kind for ending, kind in _NOT_READ.items() if theirs[0].endswith(ending))
        return WorkError(
            f"the only weights here are {kind}, which are not read: {', '.join(theirs[:3])}",
            where=str(folder),
            fix="get the safetensors, or load the model with the library that wrote it and save it",
        )
    return WorkError(
        f"no weights are here: neither {SINGLE} nor {PICKLED}, nor an index of shards",
        where=str(folder),
        fix="name a Hugging Face checkpoint folder",
    )
