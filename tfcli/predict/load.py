"""A task on a model that is loaded for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfcli.checkpoints.folder import open_model
from tfcli.checkpoints.pooling import read_pooling
from tfcli.console import Console
from tfcli.devices import pick_device
from tfcli.models.heads.embedding import Embedding
from tfcli.predict.names import resolve, task_class
from tfcli.predict.parts import Parts
from tfcli.predict.saved import saved_options
from tfcli.predict.task import Task
from tfcli.quantize.load_in import load_in as packed
from tfcli.ready import load_ready
from tfcli.recipe.validate import build_spec


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
    cls = task_class(name).of(checkpoint.model_config)
    for note in checkpoint.notes:
        console.note(note)
    saved = saved_options(checkpoint.beside, name)
    section = build_spec(cls.options_class, {**saved, **options}, prefix=("options",))
    ready = load_ready(
        checkpoint,
        console,
        task=cls.head(checkpoint.model_config),
        dtype=dtype,
        device=found,
        attention=attention,
        keep_packed=load_in is not None,
    )
    pooling = read_pooling(checkpoint.beside)
    if isinstance(ready, Embedding) and pooling is not None:
        ready.set_pooling(pooling.modes[0] if pooling.modes else "mean", pooling.normalizes)
    return cls(Parts(checkpoint, ready, model, console), section, name)
