"""Checkpoints that an interrupted run goes on from: whole or not there, and checked when read.

A checkpoint is a folder `checkpoint-<step>` with weights, optimizer state and counters; each
process writes what it holds. It is written beside its name, gets a manifest with every file's hash,
is synced and then renamed. The newest few stay, so that a damaged one does not cost the run.
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
from tfcli.process_group import Processes
from tfcli.train.average import WeightAverage
from tfcli.train.strategies.strategy import Strategy

SCHEMA = "tfcli.checkpoint/3"
MANIFEST = "manifest.json"
BEST = "best"
AVERAGE = "average"


@dataclasses.dataclass
class Progress:
    """How far a run is.

    Args:
        step: finished optimizer steps.
        tokens: targets trained on.
        seconds: spent in the loop.
        processes: how many shares of the data it began with: one a process, or one a group of
            those that `tp` makes.
        best: the figures of the best validation so far, `val_loss` among them.
        best_step: where it was.
        feed: where the data go on; see `Feed.state`.
        unfinished: figures of the last step, where its validation is still to be done.
        due: what it is time for after the last step.
        ended: why it ended before its length, if it did.
        callbacks: what they keep, by their names.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    processes: int = 1
    best: dict[str, float] | None = None
    best_step: int | None = None
    feed: dict[str, Any] | None = None
    unfinished: dict[str, Any] | None = None
    due: list[str] = dataclasses.field(default_factory=list)
    ended: str | None = None
    callbacks: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def finished(self) -> int:
        """Steps that callbacks were told of: the last one may wait for its validation."""
        return self.step - (self.unfinished is not None)

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Progress:
        """That of a checkpoint. One of before knew of the best validation only its loss."""
        values = dict(stored)
        loss = values.pop("best_loss", None)
        return cls(**{**({} if loss is None else {"best": {"val_loss": loss}}), **values})


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they lie, beside what the run makes.
        console: hears of damaged ones.
        strategy: how model and optimizer are spread. All processes call every method, with the same
            values.
        kept: how many stay; older ones are deleted once a newer one is whole.
    """

    def __init__(self, folder: Path, console: Console, strategy: Strategy, kept: int = 2) -> None:
        self.folder, self.console, self.strategy = folder, console, strategy
        self.kept = kept

    @property
    def processes(self) -> Processes:
        """Those that train together."""
        return self.strategy.processes

    @property
    def best(self) -> Path:
        """The weights of the best validation loss so far: a folder, once there is one."""
        return self.folder / BEST

    def save(
        self,
        progress: Progress,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: WeightAverage | None = None,
    ) -> None:
        """Write a checkpoint, then delete those that are no longer needed."""
        name = f"checkpoint-{progress.step}"
        temporary = self._begin(name)
        self.strategy.save_weights(model, temporary)
        values = self.strategy.save_optimizer(model, optimizer, temporary)
        if average is not None:
            (temporary / AVERAGE).mkdir(exist_ok=True)
            with average.applied():
                self.strategy.save_weights(model, temporary / AVERAGE)
        self.processes.wait()
        if self.processes.first:
            if self.best.exists():
                _link_folder(self.best, temporary / BEST)
            state = {"progress": dataclasses.asdict(progress), "optimizer": values}
            write_json(temporary / "state.json", state)
            paths = sorted(path for path in temporary.rglob("*") if path.is_file())
            files = {path.relative_to(temporary).as_posix(): digest_file(path) for path in paths}
            write_json(temporary / MANIFEST, {"schema": SCHEMA, "files": files})
            self._finish(temporary, self.folder / name)
            for old in self._all()[self.kept :]:
                shutil.rmtree(old)
        self.processes.wait()

    def _begin(self, name: str) -> Path:
        """An empty folder for what is to be called so."""
        temporary = self.folder / f".{name}.tmp"
        if self.processes.first:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
        self.processes.wait()
        return temporary

    def _finish(self, temporary: Path, target: Path) -> None:
        """Give a folder that is whole its name."""
        sync_folder(temporary)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
        sync_entry(self.folder)

    def load(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: WeightAverage | None = None,
    ) -> Progress | None:
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
            if average is not None:
                with average.taken():
                    self.strategy.load_weights(model, path / AVERAGE)
            self.strategy.load_weights(model, path)
            self.strategy.load_optimizer(model, optimizer, path, state["optimizer"])
            if (path / BEST).exists() and self.processes.first:
                shutil.rmtree(self.best, ignore_errors=True)
                _link_folder(path / BEST, self.best)
            self.processes.wait()
            return Progress.read(state["progress"])
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
        temporary = self._begin(BEST)
        self.strategy.save_weights(model, temporary)
        self.processes.wait()
        if self.processes.first:
            self._finish(temporary, self.best)
        self.processes.wait()

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
        if manifest["schema"] != SCHEMA:
            return f"it is of the form {manifest['schema']}, not {SCHEMA}"
        files: dict[str, Any] = manifest["files"]
        for name, digest in files.items():
            if digest_file(inside(path, name), anew=True) != digest:
                return f"{name} has changed"
    except (WorkError, OSError, KeyError, TypeError, AttributeError) as error:
        return error.what if isinstance(error, WorkError) else f"unreadable: {error}"
    return None


def _link_folder(source: Path, target: Path) -> None:
    """Give the files of a folder a second name; where the disk has no links, copy them."""
    target.mkdir()
    for path in source.iterdir():
        try:
            os.link(path, target / path.name)
        except OSError:
            shutil.copyfile(path, target / path.name)
