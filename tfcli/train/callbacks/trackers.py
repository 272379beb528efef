"""Figures into the tools that people look at runs with, through accelerate's trackers."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from tfcli.errors import UsageError
from tfcli.train.callbacks.callback import Callback
from tfcli.train.checkpoint import Progress
from tfcli.train.tracking_spec import TrackingSection

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

NAMES = {"lr": "train/learning_rate"}
"""Figures that transformers' Trainer calls otherwise; runs of both then share a plot."""


class Trackers(Callback):
    """Tells trackers of every step, from the first process.

    Args:
        section: which, and under which names.
        folder: of the run's files.
        facts: of the run, which they show beside it.
    """

    name: ClassVar[str] = "trackers"

    def __init__(self, section: TrackingSection, folder: Path, facts: Mapping[str, Any]) -> None:
        self.section, self.folder, self.facts = section, folder, facts
        self.id = secrets.token_hex(8)
        self._open: list[GeneralTracker] = []

    def state(self) -> dict[str, Any]:
        """The id under which a tracker on the web finds the run again."""
        return {"id": self.id}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Callback`."""
        self.id = state["id"]

    def begin(self, progress: Progress) -> None:
        """Start each tracker, and tell it what the run is."""
        from accelerate import PartialState

        # Without it accelerate's trackers fail; it takes the group of processes that is there.
        PartialState(cpu=not torch.cuda.is_available())
        for word in self.section.elsewhere:
            tracker: GeneralTracker = _MAKERS[word](self, progress)
            # Who is the first process is known here, and accelerate is not asked.
            tracker.main_process_only = False
            tracker.start()
            tracker.store_init_configuration(dict(self.facts))
            self._open.append(tracker)

    def finished(self, figures: Mapping[str, Any], due: Collection[str]) -> None:
        """Tell of a step."""
        values = {_name(key): value for key, value in figures.items() if key != "step"}
        for tracker in self._open:
            tracker.log(values, step=figures["step"])

    def end(self) -> None:
        """Let each tracker write what it still holds."""
        for tracker in self._open:
            tracker.finish()


def _tensorboard(trackers: Trackers, progress: Progress) -> GeneralTracker:
    from accelerate.tracking import TensorBoardTracker

    folder = Path(trackers.section.folder or trackers.folder / "tensorboard")
    run = trackers.section.run or "."
    _wait_for_another_second(folder / run)
    # What a killed run said of steps that are made again is taken back.
    return TensorBoardTracker(run, folder, purge_step=progress.finished + 1, flush_secs=10)


def _wait_for_another_second(folder: Path) -> None:
    """TensorBoard reads the files of a run in the order of their names, which begin with the second
    that they were opened in: those of a resumed run must come last."""
    seconds = [int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.*")]
    while seconds and time.time() < max(seconds) + 1:
        time.sleep(0.05)


def _wandb(trackers: Trackers, progress: Progress) -> GeneralTracker:
    from accelerate.tracking import WandBTracker

    return WandBTracker(
        trackers.section.project,
        name=trackers.section.run,
        dir=trackers.section.folder or str(trackers.folder),
        id=trackers.id,
        resume="allow",
    )


def _trackio(trackers: Trackers, progress: Progress) -> GeneralTracker:
    from accelerate.tracking import TrackioTracker

    name = trackers.section.run or trackers.id
    return TrackioTracker(trackers.section.project, name=name, resume="allow")


_MAKERS: dict[str, Callable[[Trackers, Progress], GeneralTracker]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "trackio": _trackio,
}


def require_trackers(section: TrackingSection) -> None:
    """Refuse trackers that are not installed, before any work.

    Raises:
        UsageError: naming the package.
    """
    for word in section.elsewhere:
        if find_spec(word) is None:
            raise UsageError(
                f"{word} is not installed", where="tracking.trackers", fix=f"pip install {word}"
            )


def _name(key: str) -> str:
    if key.startswith("val_"):
        return f"eval/{key.removeprefix('val_')}"
    return NAMES.get(key, f"train/{key}")
