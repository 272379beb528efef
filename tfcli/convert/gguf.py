"""GGUF files from any container, for `tfcli convert --to gguf`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.fit import require_fit
from tfcli.checkpoints.gguf.plan import ToGGUF
from tfcli.checkpoints.gguf.read import only_file
from tfcli.checkpoints.gguf.repack import plan_repack
from tfcli.checkpoints.gguf.to_gguf import plan_to_gguf
from tfcli.checkpoints.gguf.write import verify, write
from tfcli.convert.card import CARD, model_card
from tfcli.convert.logits.spec import LogitsAccount
from tfcli.convert.spec import ConvertResult, ConvertSpec, TensorAccount
from tfcli.errors import UsageError
from tfcli.files import write_text
from tfcli.recipe.job import Job

# A user's name of a type -> GGUF's, where it differs.
TYPES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}
_FIXED_BYTES = 256_000_000  # what a process holds beside tensors


def convert(view: Checkpoint, spec: ConvertSpec, job: Job) -> ConvertResult:
    """Write `<name>.gguf` into the job's folder; with `dry_run` only say what would be done.

    Raises:
        UsageError: a type or pattern is not known.
        WorkError: an architecture or tokenizer that llama.cpp does not have, values that a type
            cannot hold, or a written file that differs from the source.
    """
    kind = None if spec.dtype is None else TYPES.get(spec.dtype, spec.dtype)
    types = tensor_types(spec)
    if view.container == "gguf":
        planned = plan_repack(only_file(view.path), kind, types, tokenizer=spec.tokenizer)
    else:
        require_fit(view.config, {tensor.name: tensor.shape for tensor in view}, view.path)
        planned = plan_to_gguf(view, kind, types, tokenizer=not spec.dry_run)
    for note in planned.notes:
        job.console.note(note)
    if spec.dry_run:
        return _result(view, planned)
    assert spec.output is not None
    file, count = job.output / f"{Path(spec.output).name}.gguf", len(planned.targets)
    with job.console.progress("writing", count, "tensors") as bar:
        nbytes = write(planned, file, bar.advance)
    worst: dict[str, float] | None = None
    if spec.verify != "none":
        with job.console.progress("verifying", count, "tensors") as bar:
            worst = verify(planned, file, bar.advance)
    logits = _compare_logits(view, planned, file) if spec.verify == "logits" else None
    result = _result(view, planned, file, nbytes, worst, logits)
    checked = (
        f"{result.verified} tensors read back; the largest difference of a value is "
        f"{result.largest_error:.2g} of the largest in its block"
    )
    write_text(job.output / CARD, model_card(result, spec.source, job.inputs, view.config, checked))
    return result


def _compare_logits(view: Checkpoint, planned: ToGGUF, file: Path) -> LogitsAccount:
    from tfcli.convert.logits.compare import compare_logits

    if view.container == "gguf":
        # What was quantized again was made of what the file says, not of a 16-bit type between.
        changed = {target.name for target in planned.targets if target.action == "converted"}
        view = open_checkpoint(view.path, Reading(exact=changed.__contains__))
    return compare_logits(view, open_checkpoint(file))


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


def _result(
    view: Checkpoint,
    planned: ToGGUF,
    file: Path | None = None,
    nbytes: int = 0,
    worst: dict[str, float] | None = None,
    logits: LogitsAccount | None = None,
) -> ConvertResult:
    actions = Counter(target.action for target in planned.targets)
    return ConvertResult(
        kind=view.container,
        to="gguf",
        dry_run=file is None,
        files=[] if file is None else [file.name],
        source_bytes=view.stored_bytes,
        bytes=nbytes or planned.nbytes,
        peak_bytes=2 * planned.largest + _FIXED_BYTES,
        converted=actions["converted"],
        copied=actions["copied"],
        made=actions["made"],
        tied=0,
        verified=0 if worst is None else len(planned.targets),
        largest_error=max((worst or {}).values(), default=0.0),
        logits=logits,
        companions=[],
        left_out=[],
        unused=dict(planned.skipped),
        tensors=[
            TensorAccount(
                name=target.name,
                action=target.action,
                sources=list(target.sources),
                how=", ".join(filter(None, (target.how, target.note))),
                shape=list(target.shape),
                source_dtype=target.source_dtype,
                dtype=target.dtype,
                bytes=target.nbytes,
            )
            for target in planned.targets
        ],
    )
