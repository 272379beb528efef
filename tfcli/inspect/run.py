"""`tfcli inspect`: what a checkpoint is. Reads headers and small JSON files, never the weights.

torch is not imported where the family's classes are not needed: it takes longer than all the rest.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfcli.checkpoints.io.snapshot import is_source, sources_kept
from tfcli.errors import ModelError
from tfcli.hub import resolve
from tfcli.inspect.machine import memory_here
from tfcli.inspect.memory import estimate
from tfcli.inspect.needs import needs
from tfcli.inspect.open import open_stored
from tfcli.inspect.remote import open_remote
from tfcli.inspect.spec import InspectResult, InspectSpec
from tfcli.inspect.stored import Stored
from tfcli.inspect.tokenizer import find_tokenizer
from tfcli.models.config import BaseConfig
from tfcli.models.registry import get_family, read_config
from tfcli.recipe.job import Job
from tfcli.tokenizers.chat_folder import find_templates


def run(spec: InspectSpec, job: Job) -> InspectResult:
    """Describe a checkpoint.

    Raises:
        UsageError: the path is missing, or is something else than a checkpoint.
        WorkError: a broken file; names it and the field.
    """
    config_from = None if spec.config_from is None else resolve(spec.config_from)
    with tempfile.TemporaryDirectory(prefix="tfcli-") as home, sources_kept():
        path = open_remote(spec.path, Path(home), job.console)
        stored = open_stored(path, config_from)
        is_source(stored.files)
        if path.is_relative_to(home):
            stored = replace(stored, path=spec.path)
        return describe(stored, spec.context)


def describe(stored: Stored, context: int | None = None) -> InspectResult:
    """Put together what the headers and the config say.

    Args:
        stored: what was found.
        context: how many tokens a sequence has; None for the config's longest.
    """
    config = stored.config or {}
    parsed, task, problem = _understood(stored)
    text = parsed.text if parsed is not None and parsed.has_text else None
    home, tokenizer, template = stored.companions, stored.tokenizer, stored.chat_template
    if home is not None:
        tokenizer, template = find_tokenizer(home), bool(find_templates(home))
    # Numbers beside packed GGUF weights do not tell what the model computes in.
    dtypes = {} if stored.gguf and stored.quantization else stored.elements
    here = memory_here()
    return InspectResult(
        path=str(stored.path),
        kind=stored.kind,
        model_type=_text(config.get("model_type")),
        architecture=_text(config.get("architectures")),
        task=task,
        problem=problem,
        parameters=stored.parameters,
        parameters_counted="logical" if stored.logical else "stored",
        bytes=stored.nbytes,
        dtypes=stored.elements,
        files=[path.name for path in stored.files],
        quantization=stored.quantization,
        tokenizer=tokenizer,
        chat_template=template,
        memory=estimate(
            text,
            task,
            nbytes=stored.nbytes,
            parameters=stored.parameters,
            dtypes=dtypes,
            context=context,
        ),
        needs=[]
        if stored.adapter is not None
        else needs(text, task, stored.parameters, stored.tensors, here, context),
        machine=here,
        adapter=stored.adapter,
        gguf=stored.gguf,
        beside=dict(stored.beside),
        tensors=stored.tensors,
    )


def _understood(stored: Stored) -> tuple[BaseConfig | None, str | None, str | None]:
    """The family's config, the task, and why there is none of one or the other."""
    config: Mapping[str, Any] | None = stored.config
    if config is None:
        return None, None, stored.problem
    parsed = None
    try:
        parsed = read_config(config)
        return parsed, get_family(parsed.model_type).task_of(parsed.architectures), None
    except ModelError as error:
        return parsed, None, error.what


def _text(value: Any) -> str | None:
    """A text, or the first of a list of texts; None for anything else that a file may hold."""
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, str) else None
