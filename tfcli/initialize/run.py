"""The work of `tfcli initialize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tfcli.checkpoints.folder import save_model
from tfcli.checkpoints.strict_json import read_json
from tfcli.devices import dtype_name
from tfcli.errors import UsageError, WorkError, hint
from tfcli.initialize.spec import InitializeResult, InitializeSpec
from tfcli.models.loading import build, initialize
from tfcli.models.registry import get_family, read_config
from tfcli.recipe.job import Job
from tfcli.tokenizers.files import find_companions
from tfcli.units import parse_bytes

CONFIG = "config.json"


def run(spec: InitializeSpec, job: Job) -> InitializeResult:
    """Build a model of a config, give it random weights and write it.

    Raises:
        UsageError: no config there, or a head that the family does not have.
        ModelError: a config that the family refuses.
    """
    folder, content = _config(Path(spec.config))
    config = read_config({**content, **spec.changes})
    family = get_family(config.model_type)
    task = spec.task or family.task_of(config.architectures)
    if task not in family.heads:
        raise UsageError(
            f"{config.model_type} has no head {task!r}", where="task", fix=hint(task, family.heads)
        )
    dtype = getattr(torch, spec.dtype or "float32")
    model = initialize(build(config, task), spec.seed, dtype=dtype)
    files = save_model(
        model,
        job.output,
        max_shard_bytes=parse_bytes(spec.shard_size),
        tokenizer_from=folder,
    )
    return InitializeResult(
        model_type=config.model_type,
        task=task,
        parameters=sum(each.numel() for each in model.parameters()),
        dtype=dtype_name(model.dtype),
        files=[file.name for file in files],
        companions=[] if folder is None else find_companions(folder),
    )


def _config(path: Path) -> tuple[Path | None, dict[str, Any]]:
    """The folder whose tokenizer goes along, and the content of config.json."""
    folder = path if path.is_dir() else None
    file = path / CONFIG if folder else path
    if not file.is_file():
        raise UsageError(
            f"there is no {CONFIG} in it", where=str(path), fix="name a folder with one"
        )
    content = read_json(file)
    if not isinstance(content, dict):
        raise WorkError("a config is a JSON object", where=str(file))
    return folder, content
