"""Checkpoints that an interrupted run goes on from: whole or not there, and checked when read.

A checkpoint is a folder `checkpoint-<step>` with weights, optimizer state and counters. It is
written beside its name, gets a manifest with every file's hash, is synced and then renamed. The
newest two stay, so that a damaged one does not cost the run.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tfcli.checkpoints.strict_json import read_json
from tfcli.console import Console
from tfcli.errors import WorkError
from tfcli.files import digest_file, inside, sync_entry, sync_folder, write_json
from tfcli.train.weights import load_optimizer, load_weights_into, save_optimizer, save_weights

SCHEMA = "tfcli.checkpoint/1"
MANIFEST = "manifest.json"
KEPT = 2
BEST = "best.safetensors"


@dataclasses.dataclass
class Progress:
    """How far a run is.

    Args:
        step: finished optimizer steps.
        tokens: targets trained on.
        seconds: spent in the loop.
        processes: how many train together.
        best_loss: the lowest validation loss so far, nats a token.
        best_step: where it was.
        epoch_starts: see `Feed`.
        unfinished: figures of the last step, where its validation is still to be done.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    processes: int = 1
    best_loss: float | None = None
    best_step: int | None = None
    epoch_starts: list[int] = dataclasses.field(default_factory=lambda: [0])
    unfinished: dict[str, Any] | None = None


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they lie, beside what the run makes.
        console: hears of damaged ones.
    """

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder, self.console = folder, console

    @property
    def best(self) -> Path:
        """The weights of the best validation loss so far."""
        return self.folder / BEST

    def save(self, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write a checkpoint, then delete those that are no longer needed."""
        name = f"checkpoint-{progress.step}"
        temporary = self.folder / f".{name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        save_weights(model, temporary / "weights.safetensors")
        values = save_optimizer(optimizer, temporary / "optimizer.safetensors")
        if self.best.exists():
            _link(self.best, temporary / BEST)
        state = {"progress": dataclasses.asdict(progress), "optimizer": values}
        write_json(temporary / "state.json", state)
        files = {path.name: digest_file(path) for path in sorted(temporary.iterdir())}
        write_json(temporary / MANIFEST, {"schema": SCHEMA, "files": files})
        sync_folder(temporary)
        shutil.rmtree(self.folder / name, ignore_errors=True)
        temporary.rename(self.folder / name)
        sync_entry(self.folder)
        for old in self._all()[KEPT:]:
            shutil.rmtree(old)

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress | None:
        """Put the newest checkpoint that is whole into the model and the optimizer.

        Returns:
            how far it was, or None when there is no checkpoint

        Raises:
            WorkError: there are checkpoints and all are damaged.
        """
        found = self._all()
        for path in found:
            problem = _damage(path)
            if problem:
                self.console.warn(f"{path.name} is damaged ({problem}); trying the one before")
                continue
            state = read_json(path / "state.json")
            load_weights_into(model, path / "weights.safetensors")
            load_optimizer(optimizer, path / "optimizer.safetensors", state["optimizer"])
            if (path / BEST).exists():
                _link(path / BEST, self.best)
            return Progress(**state["progress"])
        if found:
            raise WorkError(
                f"all checkpoints of the interrupted run are damaged: "
                f"{', '.join(path.name for path in found)}",
                where=str(self.folder),
                fix="--force starts over",
            )
        return None

    def save_best(self, model: nn.Module) -> None:
        """Remember these weights as the best so far."""
        save_weights(model, self.best)

    def _all(self) -> list[Path]:
        """The checkpoints, newest first."""
        numbered = [
            (int(path.name.removeprefix("checkpoint-")), path)
            for path in self.folder.glob("checkpoint-*")
            if path.name.removeprefix("checkpoint-").isdecimal()
        ]
        return [path for _, path in sorted(numbered, reverse=True)]


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = read_json(path / MANIFEST)
        files: dict[str, Any] = manifest["files"]
        for name, digest in files.items():
            if digest_file(inside(path, name), anew=True) != digest:
                return f"{name} has changed"
    except (WorkError, OSError, KeyError, TypeError, AttributeError) as error:
        return error.what if isinstance(error, WorkError) else f"unreadable: {error}"
    return None


def _link(source: Path, target: Path) -> None:
    """Give a file a second name in one step; where the disk has no links, copy it."""
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(target)
