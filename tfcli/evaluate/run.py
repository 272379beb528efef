"""The work of `tfcli eval`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from tfcli.checkpoints.beside import load_generation_config
from tfcli.checkpoints.folder import open_model
from tfcli.data.documents import read_documents
from tfcli.data.layout import SPLITS
from tfcli.devices import dtype_name
from tfcli.errors import UsageError, WorkError
from tfcli.evaluate.compression import compression_baselines
from tfcli.evaluate.conditions import Conditions
from tfcli.evaluate.documents import judge_documents
from tfcli.evaluate.exports import write_exports
from tfcli.evaluate.predict import TASKS, Begin, decoder_begin, predictor
from tfcli.evaluate.samples import write_samples
from tfcli.evaluate.score import Distance, Scores, score
from tfcli.evaluate.spec import ON_TEXT, EvalResult, EvalSpec
from tfcli.evaluate.spread import load_shared
from tfcli.evaluate.uncertainty import exp
from tfcli.evaluate.windows import Plan, plan_windows
from tfcli.generation.settings import read_settings
from tfcli.models.config import BaseConfig
from tfcli.models.configs.text import TextConfig
from tfcli.models.model import Model
from tfcli.models.registry import get_family
from tfcli.process_group import join
from tfcli.quantize.load_in import load_in
from tfcli.recipe.content import digest_input
from tfcli.recipe.job import Job
from tfcli.tokenizers.load import Tokenizer, load_tokenizer

LONGEST_DEFAULT = 2048
"""Windows beyond this are asked for: the states of 128k positions alone would fill the memory."""


BACKEND = "tfcli"


def run(spec: EvalSpec, job: Job) -> EvalResult:
    """Measure a model on a text or on tasks.

    Raises:
        UsageError, WorkError: as `run_text`, and as `run_tasks` of `by_tasks`.
    """
    if spec.on_text:
        return run_text(spec, job)
    from tfcli.evaluate.by_tasks import run_tasks

    return run_tasks(spec, job)


def run_text(spec: EvalSpec, job: Job) -> EvalResult:
    """Score a text, and with it the distance from a reference and what compressors make of it.

    Raises:
        UsageError: a window that the model cannot take, or a reference with another vocabulary.
        WorkError: unreadable data or tokenizer, tokens that the model lacks, NaN in its output.
    """
    assert spec.data is not None, "a text is measured"
    processes = join(spec.device)
    device = processes.device
    checkpoint = load_in(open_model(spec.model), spec.load_in, job.console)
    for note in checkpoint.notes:
        job.console.note(note)
    tokenizer = load_tokenizer(checkpoint.beside)
    texts = read_documents(spec.data, spec.text_field, split="test", console=job.console)
    text_hash = digest_input(_file_read(spec.data), "file")
    job.has_read(spec.data)
    task = model_task(spec, checkpoint.model_config)
    config = checkpoint.model_config.text
    settings = read_settings(load_generation_config(checkpoint.beside), config)
    begin = decoder_begin(settings, config, tokenizer.prefix) if task == "seq2seq-lm" else ()
    predict = predictor(task, tokenizer, config, begin)
    plan = plan_of(spec, task, tokenizer, config, begin)
    model = load_shared(spec, checkpoint, processes, job.console, task)
    reference = None
    if spec.reference is not None:
        other = open_model(spec.reference)
        _require_same_tokens(tokenizer, load_tokenizer(other.beside), spec)
        plain = spec.model_copy(update={"load_in": None})
        reference = load_shared(plain, other, processes, job.console, task)
        _require_room(plan, room(reference.config.text, task, plan.prefix, tokenizer, begin), spec)

    prefix = tokenizer.prefix if plan.prefix else ()
    documents = tokenizer.encode_batch(texts, add_special_tokens=False)
    around = [*prefix, *tokenizer.suffix]
    _require_known([*documents, around], model, spec.model)
    if reference is not None:
        _require_known([*documents, around], reference, str(spec.reference))
    lengths = [len(ids) for ids in documents]
    windows = plan_windows(lengths, plan)
    total = sum(each.scored for each in windows)
    if total == 0:
        raise WorkError("there is no token to score", where=spec.data, fix="give a longer text")
    job.console.detail(
        f"{len(prefix)} BOS token(s), bos {spec.bos}; the first ids are "
        f"{[*prefix, *documents[0]][:8]}"
    )
    began = perf_counter()
    with job.console.progress("scoring", total, "tok") as bar:
        scores = score(
            model,
            documents,
            windows,
            batch_size=1 if spec.exact else spec.batch_size,
            reference=reference,
            predict=predict,
            prefix=prefix,
            advance=bar.advance,
            processes=processes,
        )
    seconds = perf_counter() - began
    judged = judge_documents(texts, lengths, windows, scores, tokenizer)
    size = judged.bytes
    result = EvalResult(
        task=TASKS[task],
        model=spec.model,
        conditions=Conditions(
            task=TASKS[task],
            data_sha256=text_hash,
            samples=len(texts),
            tokenizer_sha256=tokenizer.fingerprint,
            bos=spec.bos,
            bos_tokens=len(prefix),
            window=plan.window,
            stride=plan.step,
            dtype=dtype_name(model.dtype),
            backend=BACKEND,
        ),
        measures=judged.measures,
        samples=len(texts),
        perplexity=exp(float(scores.loss.mean())),
        bits_per_byte=float(scores.loss.sum()) / math.log(2) / size if size else math.inf,
        loss=float(scores.loss.mean()),
        tokens=total,
        unscored_tokens=judged.unscored,
        bytes=size,
        documents=len(texts),
        window=plan.window,
        stride=plan.step,
        bos=spec.bos,
        bos_tokens=len(prefix),
        first_token_scored=bool(prefix),
        load_in=spec.load_in,
        dtype=dtype_name(model.dtype),
        device=device.type,
        data=spec.data,
        data_sha256=text_hash,
        tokenizer_sha256=tokenizer.fingerprint,
        compression=_compression(spec, texts),
        processes=processes.count,
        seconds=seconds,
        tokens_per_second=total / seconds,
        **_comparison(spec, scores),
    )
    if job.folder is not None and processes.first:
        write_samples(judged.samples, job.folder)
        write_exports(spec.export, result, {}, job.folder)
    return result


def model_task(spec: EvalSpec, config: BaseConfig) -> str:
    """The head that the spec's task needs.

    Raises:
        UsageError: the model's family has no such head, or none that predicts tokens.
    """
    family = get_family(config.model_type)
    wanted = {measure: task for task, measure in TASKS.items()}.get(spec.task)
    shown = spec.task if spec.task in ON_TEXT else "what this model says of tokens"
    if wanted is None:
        own = family.task_of(config.architectures)
        wanted = (
            own if own in TASKS else next((each for each in TASKS if each in family.heads), own)
        )
    if wanted not in TASKS or wanted not in family.heads:
        can = [TASKS[task] for task in TASKS if task in family.heads]
        raise UsageError(
            f"{config.model_type} cannot be measured by {shown}",
            where="task",
            fix=f"it has {', '.join(can)}" if can else "use a model that predicts tokens",
        )
    return wanted


def plan_of(
    spec: EvalSpec, task: str, tokenizer: Tokenizer, config: TextConfig, begin: Begin = ()
) -> Plan:
    """How documents are cut, with the defaults that depend on the model.

    Args:
        task: of the model. A causal model reads a BOS in its window; what other models see around
            a window comes in addition to it.
        begin: what a decoder sees before a target.

    Raises:
        UsageError: more than the model's positions, or a stride that skips tokens.
    """
    prefix = 0 if spec.bos == "none" else len(tokenizer.prefix)
    limit = room(config, task, prefix, tokenizer, begin)
    around = config.longest_input - limit
    window = spec.window or min(config.trained_length - around, LONGEST_DEFAULT)
    if window > limit:
        raise UsageError(
            f"a window of {window:,} tokens is more than the model's {limit:,} positions",
            where="window",
            fix=f"--window {limit}",
        )
    if window <= prefix:
        raise UsageError(
            f"a window of {window} has no room beside the {prefix} tokens that the tokenizer puts "
            "before a text",
            where="window",
            fix=f"--window {prefix + 1} or more, or --bos none",
        )
    stride = spec.stride or max(1, window // 2)
    if stride > window:
        raise UsageError(
            f"stride ({stride}) must not be above window ({window})",
            where="stride",
            fix=f"--stride {window // 2}",
        )
    return Plan(window, stride, prefix, spec.bos == "each", inside=task == "causal-lm")


def room(
    config: TextConfig, task: str, prefix: int, tokenizer: Tokenizer, begin: Begin = ()
) -> int:
    """The longest window that a model takes beside what it sees around one; see `plan_of`."""
    if task == "causal-lm":
        return config.longest_input
    return config.longest_input - max(prefix + len(tokenizer.suffix), len(begin) - 1)


def _compression(spec: EvalSpec, texts: list[str]) -> dict[str, float] | None:
    if not spec.compression_baselines:
        return None
    prime = None
    if spec.prime is not None:
        prime = "".join(read_documents(spec.prime, spec.text_field)).encode()
    return compression_baselines("".join(texts).encode(), prime)


def _comparison(spec: EvalSpec, scores: Scores) -> dict[str, object]:
    loss = scores.reference_loss
    if loss is None:
        return {}
    distance = Distance.of(scores)
    return {
        "reference": spec.reference,
        "kl_divergence": distance.mean,
        "kl_divergence_median": distance.median,
        "kl_divergence_p99": distance.p99,
        "kl_divergence_p999": distance.p999,
        "same_top_token": distance.same_top,
        "reference_perplexity": exp(float(loss.mean())),
    }


def _file_read(data: str) -> Path:
    """The file itself where a folder of splits was given."""
    path = Path(data)
    is_split = path.is_dir() and any((path / f"{name}.jsonl").exists() for name in SPLITS)
    return path / "test.jsonl" if is_split else path


def _require_same_tokens(ours: Tokenizer, theirs: Tokenizer, spec: EvalSpec) -> None:
    if ours.fingerprint != theirs.fingerprint:
        raise UsageError(
            f"{spec.model} and {spec.reference} have different tokenizers",
            where="reference",
            fix="distributions can be compared only over the same tokens",
        )


def _require_room(plan: Plan, limit: int, spec: EvalSpec) -> None:
    if plan.window > limit:
        raise UsageError(
            f"{spec.reference} has {limit:,} positions, fewer than a window of {plan.window:,}",
            where="reference",
            fix=f"--window {limit}",
        )


def _require_known(documents: Sequence[Sequence[int]], model: Model, name: str) -> None:
    """Refuse ids that a model has no embedding for."""
    largest = max((max(ids) for ids in documents if ids), default=-1)
    if largest >= model.config.text.token_id_limit:
        raise WorkError(
            f"the tokenizer gives id {largest}, but the model has "
            f"{model.config.text.token_id_limit:,} tokens",
            where=name,
            fix="the tokenizer and the weights belong to different models",
        )
