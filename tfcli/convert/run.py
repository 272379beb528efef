"""`tfcli convert`: stream a checkpoint into another container, dtype or shard size.

The source is opened as Hugging Face's tensors, and the module of the target takes them from there
(`targets.py`). The model is built only where a target must run it.
"""

from __future__ import annotations

import dataclasses

from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.containers import open_ref
from tfcli.checkpoints.io.memory import freed_at_once
from tfcli.checkpoints.packed.unpack import method_of, unpacked, widened
from tfcli.convert.overflow import warn_of_overflow
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.convert.targets import convert, needs_dense
from tfcli.hub import resolve
from tfcli.models.layouts.registry import get_layout
from tfcli.recipe.job import Job
from tfcli.tokenizers.files import find_companions


def run(spec: ConvertSpec, job: Job) -> ConvertResult:
    """Convert `spec.source` into the job's folder; with `dry_run` only say what would be done.

    Raises:
        UsageError: the source is not a folder, or of no kind that is read; the target cannot hold
            it.
        WorkError: broken files, a value that the new type cannot hold, a full disk, a source that
            changed meanwhile, or written tensors that differ from the source's.
    """
    config_from = None if spec.config_from is None else resolve(spec.config_from)
    with freed_at_once():
        asked = Reading(config_from)
        if spec.to_layout is not None:
            asked = Reading(config_from, exact=lambda name: True, packed=True)
        elif spec.dtype is not None:
            asked = Reading(config_from, exact=lambda name: True)
        view = open_ref(spec.source, asked)
        for note in view.notes:
            job.console.note(note)
        if needs_dense(spec):
            view = unpacked(view, asked.exact) if method_of(view) else widened(view)
        if spec.to_layout is not None:
            from tfcli.checkpoints.packed.relayout import relaid

            linears = None
            if view.container == "gguf":
                from tfcli.checkpoints.gguf.levels import with_levels

                view, linears = with_levels(view)
            view = relaid(view, get_layout(spec.to_layout), linears)
        if not spec.tokenizer:
            view = dataclasses.replace(view, companions=None, carry=None)
        if view.companions is not None:
            find_companions(view.companions)  # those that cannot go along are refused now
        if view.carry is not None and not spec.dry_run:
            view.beside  # noqa: B018  (the same for those that the container has inside)
        if spec.dtype == "float16" and spec.to != "gguf":
            warn_of_overflow(view.config, job.console)
        return convert(view, spec, job)
