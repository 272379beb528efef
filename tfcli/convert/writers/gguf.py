"""GGUF files from Hugging Face folders, for `tfcli convert --to gguf`."""

from __future__ import annotations

from pathlib import Path

from tfcli.convert.spec import ConvertResult, ConvertSpec, TensorAccount
from tfcli.convert.view import View
from tfcli.errors import UsageError
from tfcli.gguf.to_gguf import GGUFResult, ToGGUF, plan_to_gguf, run_to_gguf
from tfcli.recipe.job import Job

TYPES = {"bf16": "bf16", "fp16": "f16", "fp32": "f32"}  # a user's name -> GGUF's, where it differs


def convert(view: View, spec: ConvertSpec, job: Job) -> ConvertResult:
    """Write `<name>.gguf` into the job's folder; with `dry_run` only say what would be done.

    Raises:
        UsageError: the source is no Hugging Face folder, or a type or pattern is not known.
        WorkError: an architecture or tokenizer that llama.cpp does not have, values that a type
            cannot hold, or a written file that differs from the source.
    """
    if view.kind != "hf":
        raise UsageError(
            f"{view.kind} cannot become GGUF in one step", where="to", fix="convert it to hf first"
        )
    kind = None if spec.dtype is None else TYPES.get(spec.dtype, spec.dtype)
    planned = plan_to_gguf(view.path, kind, tensor_types(spec), tokenizer=not spec.dry_run)
    for note in planned.notes:
        job.console.note(note)
    if spec.dry_run:
        return _result(view, planned, None)
    assert spec.output is not None
    done = run_to_gguf(planned, job.output / f"{Path(spec.output).name}.gguf")
    return _result(view, planned, done)


def tensor_types(spec: ConvertSpec) -> list[tuple[str, str]]:
    """`regex=TYPE` as pairs.

    Raises:
        UsageError: one without a `=`.
    """
    pairs = []
    for text in spec.tensor_type:
        pattern, found, name = text.rpartition("=")
        if not found or not pattern:
            raise UsageError(
                f"{text!r} is not PATTERN=TYPE", where="tensor_type", fix="such as 'attn=Q8_0'"
            )
        pairs.append((pattern, name))
    return pairs


def _result(view: View, planned: ToGGUF, done: GGUFResult | None) -> ConvertResult:
    accounts = [
        TensorAccount(
            name=target.name,
            action="made",
            sources=list(target.sources),
            how=target.note,
            shape=list(target.shape),
            source_dtype=planned.source.info(target.sources[0]).dtype,
            dtype=target.dtype,
            bytes=target.nbytes,
        )
        for target in planned.plan.targets
    ]
    return ConvertResult(
        kind=view.kind,
        dry_run=done is None,
        files=[] if done is None else [done.file.name],
        source_bytes=view.stored_bytes,
        bytes=planned.nbytes if done is None else done.nbytes,
        peak_bytes=2 * planned.largest + 256_000_000,
        converted=0,
        copied=0,
        made=len(accounts),
        tied=0,
        verified=0 if done is None else done.compared,
        largest_error=0.0 if done is None else max(done.worst.values(), default=0.0),
        companions=[],
        left_out=[],
        unused=dict(planned.plan.skipped if done is None else done.skipped),
        tensors=accounts,
    )
