"""An adapter, whichever tool wrote it: what each of its tensors is, and opening its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from tfcli.checkpoints.beside import read_object
from tfcli.checkpoints.hf.source import TensorSource
from tfcli.checkpoints.io.snapshot import is_source
from tfcli.checkpoints.io.tensor_pieces import same_bits
from tfcli.checkpoints.strict_json import short
from tfcli.errors import UsageError, WorkError
from tfcli.hub import resolve
from tfcli.stand_ins import refuse_stand_in

CONFIG = "adapter_config.json"

Method = Literal["lora", "dora", "adalora", "ia3", "full"]


def _as_stored(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True)
class Adapter:
    """An opened adapter.

    Args:
        folder: where it lies.
        wrote: the library whose format it has, `PEFT` or `MLX`.
        method: what it is; `full` where it holds whole tensors alone.
        config: the content of adapter_config.json.
        source: its tensors.
        scale: what the product of a module's two factors is multiplied by.
        rank: of a module's two factors, as the config says; None where it does not.
        base: what it was trained on, as the config names it.
        task: what it was trained for, as the registry of models calls it; None if it is not said.
        factors: a stored factor -> as PEFT stores it, the rank first in A and last in B.
        stores_inputs_first: what the config says of the linears' weights: stored [in, out].
        keeps_ties: whether a change of a tied tensor was trained as one of its partner too.
        magnitudes_by_column: DoRA's, where a table of embeddings is changed.
        modules: module -> role of a tensor -> the tensor's name.
        experts: module -> its position and their number, where a tensor holds those of all
            experts one after the other.
        whole: parameter -> the name of the tensor that takes its place.
        in_place: those of them that are the changed layer's own, which a tied partner has too.
        unknown: tensors that are neither.
    """

    folder: Path
    wrote: Literal["PEFT", "MLX"]
    method: Method
    config: Mapping[str, Any]
    source: TensorSource
    scale: Callable[[str], float]
    rank: Callable[[str], int | None]
    base: str | None = None
    task: str | None = None
    factors: Callable[[Tensor], Tensor] = _as_stored
    stores_inputs_first: bool = False
    keeps_ties: bool = False
    magnitudes_by_column: bool = True
    modules: dict[str, dict[str, str]] = field(default_factory=dict)
    experts: dict[str, tuple[int, int]] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    in_place: set[str] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of its tensors."""
        return tuple(file.path for file in self.source.files)

    def tensor(self, module: str, role: str) -> Tensor | None:
        """A tensor of a module by its role; None if there is none."""
        name = self.modules[module].get(role)
        if name is None:
            return None
        tensor = self.source[name]
        if role.rpartition("_")[2] not in ("a", "b"):
            return tensor
        values = self.modules[module].get("values")
        if role == "a" and values is not None:  # AdaLoRA's, between the two factors
            return tensor * self.source[values]
        if module not in self.experts:
            return self.factors(tensor)
        position, count = self.experts[module]
        return tensor.reshape(count, -1, tensor.shape[-1])[position]

    def add(self, module: str, role: str, name: str) -> None:
        """Note what a tensor is.

        Raises:
            WorkError: another one is the same.
        """
        roles = self.modules.setdefault(module, {})
        self._require_new(roles.get(role), name, "part of a module")
        roles[role] = name

    def replace(self, parameter: str, name: str) -> None:
        """Note which parameter a tensor takes the place of.

        Raises:
            WorkError: another one does too, and is another one. PEFT writes a resized table twice.
        """
        there = self.whole.setdefault(parameter, name)
        if there != name and not same_bits(self.source[there], self.source[name]):
            self._require_new(there, name, "parameter")

    def _require_new(self, there: str | None, name: str, what: str) -> None:
        if there is not None:
            raise WorkError(
                f"{short(there)} and {short(name)} are the same {what}",
                where=str(self.folder),
                fix="save one adapter alone, where the file holds several",
            )


def open_adapter(ref: str) -> Adapter:
    """Open an adapter folder or a hub id and sort its tensors.

    Raises:
        UsageError: no such folder, or one that holds no adapter.
        WorkError: broken files, or an adapter of a kind that is not merged.
    """
    from tfcli.merge.mlx import is_mlx, open_mlx
    from tfcli.merge.peft import open_peft

    folder = resolve(ref)
    if folder.is_file():
        refuse_stand_in(folder)
        raise UsageError(
            f"{folder} is a file: adapters are folders, with {CONFIG} beside the weights",
            where="adapter",
            fix="name the folder that PEFT's save_pretrained or mlx_lm.lora wrote; adapters in "
            "GGUF files are not merged",
        )
    if not folder.is_dir() or not (folder / CONFIG).exists():
        raise UsageError(
            f"{folder} holds no {CONFIG}",
            where="adapter",
            fix="name the folder that PEFT's save_pretrained or mlx_lm.lora wrote",
        )
    config = read_object(folder, CONFIG)
    adapter = (open_mlx if is_mlx(config) else open_peft)(folder, config)
    is_source(adapter.files)
    if not adapter.source.nbytes:
        raise WorkError(
            f"the adapter holds {_COUNTS[bool(len(adapter.source))]}: its training did not save it",
            where=str(adapter.files[0]),
            fix="save it again, with the weights gathered where they are spread over processes",
        )
    return adapter


_COUNTS = {False: "no tensors", True: "empty tensors alone"}
