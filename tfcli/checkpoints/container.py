"""What a container declares of itself: one declaration, from which every verb knows it.

A container is a folder here with `container.py` (the declaration), `read.py` with a function
`read(path, asked)`, `write.py` with a `WRITER` where it is written, and `rules.py` where it has
names or layouts of its own. Nothing else in tfcli compares the names of containers to find out what
one can do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tfcli.checkpoints.checkpoint import Checkpoint
    from tfcli.checkpoints.plan import Plan

Config = Literal["inside", "folder", "needed", "optional"]


@dataclass(frozen=True)
class Reading:
    """What a reader is asked.

    Args:
        config_from: the folder whose config.json and tokenizer belong to the weights, for
            containers that bring none.
        config_required: without it, a missing config is empty where names can be told without it.
        exact: of which tensors the quantized values come out as float32, to be cast; of the others
            in a type of two bytes where the container gives them none.
        packed: quantized weights come out as they are stored, with their quantization_config, of
            containers that would give dense ones and whose packing is one of the model core's.
    """

    config_from: Path | None = None
    config_required: bool = True
    exact: Callable[[str], bool] = lambda name: False
    packed: bool = False


@dataclass(frozen=True)
class WriteOptions:
    """How the target is cut into files.

    Args:
        max_shard_bytes: largest file of containers that are cut by size.
        parts: files of containers that are cut for tensor parallelism.
    """

    max_shard_bytes: int
    parts: int = 1


def _unchanged(checkpoint: Checkpoint) -> Checkpoint:
    return checkpoint


def _accept(plan: Plan, options: WriteOptions) -> None:
    """Nothing that headers tell is refused."""


@dataclass(frozen=True)
class Writer:
    """What writes a container.

    Args:
        write: writes the tensors of a plan and what the container itself needs into a folder;
            gives the weight files.
        prepare: the checkpoint as the container can hold it; refuses what it cannot.
        check: refuses from headers what `write` would refuse.
        own_config: `write` makes the container's own config instead of config.json.
    """

    write: Callable[[Plan, Path, WriteOptions], list[Path]]
    prepare: Callable[[Checkpoint], Checkpoint] = _unchanged
    check: Callable[[Plan, WriteOptions], None] = _accept
    own_config: bool = False


@dataclass(frozen=True)
class Container:
    """One way to keep a checkpoint in files.

    Args:
        name: what users call it.
        package: the folder with its code.
        looks_like: whether a path is one, found from content without importing torch.
        files: patterns of the names that a repository on the hub keeps it in, beside config.json
            and what goes along with any checkpoint; empty for what trainers leave on a disk.
        config: `inside` the container's own files; in the `folder`, as config.json; `needed` and
            possibly elsewhere, so that `config_from` may name it; or `optional`, the same for
            containers whose names can be told without one.
        cut: whether it is written in files of a `size`, in `parts` for tensor parallelism, or not
            at all (None).
    """

    name: str
    package: str
    looks_like: Callable[[Path], bool]
    files: tuple[str, ...] = ()
    config: Config = "folder"
    cut: Literal["size", "parts"] | None = None

    @property
    def takes_config(self) -> bool:
        """Whether the config may lie elsewhere than the weights."""
        return self.config in ("needed", "optional")

    def read(self, path: Path, asked: Reading) -> Checkpoint:
        """Open a path that looks like one; its tensors have their family's names.

        Its files must stay as they are until the step that reads them is done, see `Spec`.
        """
        from tfcli.checkpoints.family_names import in_family_names
        from tfcli.checkpoints.io.snapshot import is_source
        from tfcli.models.configs.rope import config_notes
        from tfcli.models.layouts.config_keys import key_notes

        reader: Callable[[Path, Reading], Checkpoint]
        reader = import_module(f"tfcli.checkpoints.{self.package}.read").read
        opened = in_family_names(reader(path, asked))
        is_source(opened.files)
        said = (*config_notes(opened.config), *key_notes(opened.config))
        return replace(opened, notes=(*opened.notes, *said))

    @property
    def writer(self) -> Writer:
        """What writes it; only of containers that are cut in some way."""
        writer: Writer = import_module(f"tfcli.checkpoints.{self.package}.write").WRITER
        return writer
