"""A task on a model that is loaded for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_model
from tfcli.checkpoints.pooling import read_pooling
from tfcli.console import Console
from tfcli.devices import pick_device
from tfcli.models.heads.embedding import Embedding
from tfcli.predict.names import resolve, task_class
from tfcli.predict.options.shared import Options
from tfcli.predict.parts import Parts
from tfcli.predict.saved import saved_options
from tfcli.predict.task import Task
from tfcli.quantize.load_in import load_in as packed
from tfcli.ready import load_ready
from tfcli.recipe.validate import build_spec


@dataclass(frozen=True, eq=False)
class OpenedTask:
    """A task on a model whose weights are not loaded yet.

    Args:
        name: of the task, as the user asked for it.
        cls: its code for this model.
        checkpoint: of the model.
        model: as the user named it.
        options: of the task.
    """

    name: str
    cls: type[Task[Any]]
    checkpoint: Checkpoint
    model: str
    options: Options

    @classmethod
    def of(
        cls, task: str, checkpoint: Checkpoint, model: str, options: Mapping[str, Any]
    ) -> OpenedTask:
        """A task by its name.

        Raises:
            UsageError: no such task or option, or a family without the task's head.
        """
        code = task_class(task).of(checkpoint.model_config)
        code.head(checkpoint.model_config)
        section = build_spec(code.options_class, dict(options), prefix=("options",))
        return cls(task, code, checkpoint, model, section)

    def load(
        self,
        console: Console,
        *,
        device: torch.device,
        dtype: str = "auto",
        attention: str = "sdpa",
        keep_packed: bool = False,
    ) -> Task[Any]:
        """The task with the model's weights, loaded as `load_ready` does.

        Raises:
            UsageError: options that do not fit the model.
            WorkError: files that cannot be read.
        """
        ready = load_ready(
            self.checkpoint,
            console,
            task=self.cls.head(self.checkpoint.model_config),
            dtype=dtype,
            device=device,
            attention=attention,
            keep_packed=keep_packed,
        )
        pooling = read_pooling(self.checkpoint.beside)
        if isinstance(ready, Embedding) and pooling is not None:
            ready.set_pooling(pooling.modes[0] if pooling.modes else "mean", pooling.normalizes)
        parts = Parts(self.checkpoint, ready, self.model, console)
        return self.cls(parts, self.options, self.name)


def load_task(
    task: str,
    model: str,
    options: Mapping[str, Any],
    console: Console,
    *,
    load_in: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    attention: str = "sdpa",
) -> Task[Any]:
    """Load a model with the head of a task.

    Args:
        task: a name or an alias.
        model: a folder or file of any container, or a hub id.
        options: of the task, over those that a saved pipeline in the model's folder has.
        console: hears notes and warnings.
        load_in, dtype, device, attention: as the keys of `tfcli predict`.

    Raises:
        UsageError: no such task, option or model, or a family without the task's head.
        WorkError: files that cannot be read.
    """
    name = resolve(task)
    found = pick_device(device)
    checkpoint = packed(open_model(model), load_in, console)
    for note in checkpoint.notes:
        console.note(note)
    saved = saved_options(checkpoint.beside, name)
    opened = OpenedTask.of(name, checkpoint, model, {**saved, **options})
    return opened.load(
        console,
        device=found,
        dtype=dtype,
        attention=attention,
        keep_packed=load_in is not None,
    )
