"""The work of `tfcli eval`."""

from __future__ import annotations

import math
from pathlib import Path
from time import perf_counter
from typing import Any

from tfcli.checkpoints.model import load_model, open_model
from tfcli.data.documents import SPLITS, read_documents
from tfcli.data.tokens import document_ids
from tfcli.errors import UsageError, WorkError
from tfcli.evaluate.compression import compression_baselines
from tfcli.evaluate.predict import TASKS, predictor
from tfcli.evaluate.score import Scores, score
from tfcli.evaluate.spec import EvalResult, EvalSpec
from tfcli.evaluate.windows import plan_windows
from tfcli.models.config import ModelConfig
from tfcli.models.model import Model
from tfcli.models.registry import get_family
from tfcli.recipe.job import Job
from tfcli.recipe.record import digest_input
from tfcli.runtime import dtype_name, pick_device, pick_dtype
from tfcli.tokenizers.load import Tokenizer, load_tokenizer

LONGEST_DEFAULT = 2048
"""Windows beyond this are asked for: at 128k positions the logits alone would fill the memory."""


def run(spec: EvalSpec, job: Job) -> EvalResult:
    """Score a text, and with it the distance from a reference and what compressors make of it.

    Raises:
        UsageError: a window that the model cannot take, or a reference with another vocabulary.
        WorkError: unreadable data or tokenizer, tokens that the model lacks, NaN in its output.
    """
    device, dtype = pick_device(spec.device), pick_dtype(spec.dtype)
    checkpoint = open_model(spec.model)
    tokenizer = load_tokenizer(checkpoint.beside)
    texts = read_documents(spec.data, spec.text_field, split="test")
    task = model_task(spec, checkpoint.model_config)
    options: dict[str, Any] = {"dtype": dtype, "device": device, "attention": spec.attention}
    model = load_model(checkpoint, task=task, **options)
    predict = predictor(task, tokenizer, model)
    # Other models than causal ones see what the tokenizer puts around a text in every window.
    around = 0 if task == "causal-lm" else len(tokenizer.prefix) + len(tokenizer.suffix)
    window, stride = window_and_stride(spec, model.config.longest_input - around)
    reference = None
    if spec.reference is not None:
        other = open_model(spec.reference)
        _require_same_tokens(tokenizer, load_tokenizer(other.beside), spec)
        reference = load_model(other, task=task, **options)
        _require_same_vocabulary(model, reference, spec)

    documents = [_document(text, tokenizer) for text in texts]
    _require_known(documents, model, spec)
    windows = plan_windows([len(ids) for ids in documents], window, stride)
    total = sum(each.scored for each in windows)
    if total == 0:
        raise WorkError("there is no token to score", where=spec.data, fix="give a longer text")
    _say_first_ids(job, documents[0], tokenizer)
    began = perf_counter()
    with job.console.progress("scoring", total, "tok") as bar:
        scores = score(
            model,
            documents,
            windows,
            batch_size=spec.batch_size,
            reference=reference,
            predict=predict,
            advance=bar.advance,
        )
    seconds = perf_counter() - began
    size = sum(scored_bytes(text, tokenizer) for text in texts)
    return EvalResult(
        task=TASKS[task],
        model=spec.model,
        perplexity=math.exp(scores.loss.mean()),
        bits_per_byte=float(scores.loss.sum()) / math.log(2) / size,
        loss=float(scores.loss.mean()),
        tokens=total,
        bytes=size,
        documents=len(texts),
        window=window,
        stride=stride,
        bos_tokens=len(tokenizer.prefix),
        first_token_scored=bool(tokenizer.prefix),
        dtype=dtype_name(model.dtype),
        device=device.type,
        data=spec.data,
        data_sha256=digest_input(_file_read(spec.data)),
        tokenizer_sha256=tokenizer.fingerprint,
        compression=_compression(spec, texts),
        seconds=seconds,
        tokens_per_second=total / seconds,
        **_comparison(spec, scores),
    )


def model_task(spec: EvalSpec, config: ModelConfig) -> str:
    """The head that the spec's task needs.

    Raises:
        UsageError: the model's family has no such head, or none that predicts tokens.
    """
    family = get_family(config.model_type)
    wanted = {measure: task for task, measure in TASKS.items()}.get(spec.task)
    if wanted is None:
        own = family.task_of(config.architectures)
        wanted = (
            own if own in TASKS else next((each for each in TASKS if each in family.heads), own)
        )
    if wanted not in TASKS or wanted not in family.heads:
        can = [TASKS[task] for task in TASKS if task in family.heads]
        raise UsageError(
            f"{config.model_type} cannot be measured by {spec.task}",
            where="task",
            fix=f"it has {', '.join(can)}" if can else "use a model that predicts tokens",
        )
    return wanted


def window_and_stride(spec: EvalSpec, limit: int) -> tuple[int, int]:
    """The window and stride of a spec, with the defaults that depend on the model.

    Args:
        limit: tokens of a text that the model can take at once.

    Raises:
        UsageError: more than the model's positions, or a stride that skips tokens.
    """
    window = spec.window or min(limit, LONGEST_DEFAULT)
    if window > limit:
        raise UsageError(
            f"a window of {window:,} tokens is more than the model's {limit:,} positions",
            where="window",
            fix=f"--window {limit}",
        )
    stride = spec.stride or max(1, window // 2)
    if stride >= window:
        raise UsageError(
            f"stride ({stride}) must be below window ({window})",
            where="stride",
            fix=f"--stride {window // 2}",
        )
    return window, stride


def scored_bytes(text: str, tokenizer: Tokenizer) -> int:
    """UTF-8 bytes of what is scored: all, or without a BOS, all but the first token's."""
    if tokenizer.prefix:
        return len(text.encode())
    offsets = tokenizer.backend.encode(text, add_special_tokens=False).offsets
    return len(text[offsets[0][1] :].encode()) if offsets else 0


def _document(text: str, tokenizer: Tokenizer) -> list[int]:
    """A framed document without what the tokenizer puts after it: an EOS is no text to score."""
    ids = document_ids(text, tokenizer)
    return ids[: len(ids) - len(tokenizer.suffix)]


def _compression(spec: EvalSpec, texts: list[str]) -> dict[str, float] | None:
    if not spec.compression_baselines:
        return None
    prime = None
    if spec.prime is not None:
        prime = "".join(read_documents(spec.prime, spec.text_field)).encode()
    return compression_baselines("".join(texts).encode(), prime)


def _comparison(spec: EvalSpec, scores: Scores) -> dict[str, object]:
    divergence, same, loss = scores.divergence, scores.same_top, scores.reference_loss
    if divergence is None or same is None or loss is None:
        return {}
    return {
        "reference": spec.reference,
        "kl_divergence": float(divergence.mean()),
        # kthvalue and not quantile, which refuses more than 16 million values.
        "kl_divergence_p99": float(divergence.kthvalue(math.ceil(0.99 * len(divergence))).values),
        "same_top_token": float(same.mean()),
        "reference_perplexity": math.exp(loss.mean()),
    }


def _file_read(data: str) -> Path:
    """The file itself where a folder of splits was given."""
    path = Path(data)
    is_split = path.is_dir() and any((path / f"{name}.jsonl").exists() for name in SPLITS)
    return path / "test.jsonl" if is_split else path


def _say_first_ids(job: Job, ids: list[int], tokenizer: Tokenizer) -> None:
    job.console.detail(
        f"{len(tokenizer.prefix)} BOS token(s) a document; the first ids are {ids[:8]}"
    )


def _require_same_tokens(ours: Tokenizer, theirs: Tokenizer, spec: EvalSpec) -> None:
    if ours.fingerprint != theirs.fingerprint:
        raise UsageError(
            f"{spec.model} and {spec.reference} have different tokenizers",
            where="reference",
            fix="distributions can be compared only over the same tokens",
        )


def _require_same_vocabulary(model: Model, reference: Model, spec: EvalSpec) -> None:
    ours, theirs = model.config.vocab_size, reference.config.vocab_size
    if ours != theirs:
        raise UsageError(
            f"{spec.model} has {ours:,} tokens and {spec.reference} has {theirs:,}",
            where="reference",
            fix="distributions can be compared only over the same tokens",
        )


def _require_known(documents: list[list[int]], model: Model, spec: EvalSpec) -> None:
    largest = max((max(ids) for ids in documents if ids), default=-1)
    if largest >= model.config.token_id_limit:
        raise WorkError(
            f"the tokenizer gives id {largest}, but the model has "
            f"{model.config.token_id_limit:,} tokens",
            where=spec.model,
            fix="the tokenizer and the weights belong to different models",
        )
