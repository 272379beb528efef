"""`tfcli eval` on tasks of models with heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_model
from tfcli.devices import dtype_name
from tfcli.errors import UsageError
from tfcli.evaluate.by_tasks import finish
from tfcli.evaluate.conditions import Conditions
from tfcli.evaluate.heads.asking import answered, hashable
from tfcli.evaluate.heads.file import HeadFile
from tfcli.evaluate.heads.kind import Kind, Question
from tfcli.evaluate.heads.registry import KINDS
from tfcli.evaluate.opened import kept_answers
from tfcli.evaluate.run import BACKEND
from tfcli.evaluate.spec import EvalResult, EvalSpec, TaskResult
from tfcli.evaluate.tasks.data import data_digest, rows_of, tested_split
from tfcli.evaluate.tasks.file import Task
from tfcli.evaluate.tasks.judged import Judged, clusters_of, judged_of
from tfcli.evaluate.tasks.metric import Clusters, asked_metrics, libraries_of
from tfcli.metrics.compute import require_libraries
from tfcli.predict.load import OpenedTask
from tfcli.predict.names import task_class
from tfcli.predict.task import Task as PredictTask
from tfcli.process_group import Processes, join
from tfcli.quantize.load_in import load_in
from tfcli.recipe.job import Job

_IDLE = ("shots", "seed", "chat", "overlong", "bos", "sequence_length", "stride")
"""Keys of prompts and of windows, which such a task has none of."""


@dataclass(frozen=True, eq=False)
class _Asked:
    """One task, ready to be asked.

    Args:
        task: from its file.
        kind: of it, with its rows.
        questions: all of them.
        opened: the task of `tfcli predict`, without weights.
        digest: the hash of the data's content.
        available: samples that the task has.
        clusters: which cluster each sample is in.
    """

    task: Task[HeadFile]
    kind: Kind
    questions: Sequence[Question]
    opened: OpenedTask
    digest: str
    available: int
    clusters: Clusters


def run_heads(spec: EvalSpec, job: Job, tasks: Sequence[Task[HeadFile]]) -> EvalResult:
    """Measure a model with a head on tasks.

    Samples are read, and compared with the labels of the model's config, before its weights are.

    Raises:
        UsageError: keys without an effect; metrics, columns, labels or options that there are not;
            a model without the head.
        WorkError: files that cannot be read, or samples that the model cannot answer.
    """
    for key in _IDLE:
        if (
            key in spec.model_fields_set
            and getattr(spec, key) != EvalSpec.model_fields[key].default
        ):
            raise UsageError(
                f"{key} has no effect: {tasks[0].file.output_type} has no prompts and no windows",
                where=key,
                code="usage.no_effect",
            )
    metrics = [_metrics(task) for task in tasks]
    processes = join(spec.device)
    checkpoint = load_in(open_model(spec.model), spec.load_in, job.console)
    for note in checkpoint.notes:
        job.console.note(note)
    asked = [
        _asked(spec, task, names, checkpoint) for task, names in zip(tasks, metrics, strict=True)
    ]
    results, judged, ran = [], [], _Ran(spec, job, checkpoint, processes)
    with job.console.progress("asking", sum(len(a.questions) for a in asked), "answers") as bar:
        for each in asked:
            answers = ran.answers(each, bar.advance)
            judged.append(_judged(each, answers))
            results.append(
                TaskResult(
                    task=each.task.name,
                    conditions=ran.conditions(each),
                    measures=judged[-1].measures,
                    available=each.available,
                )
            )
    return finish(
        spec,
        job,
        results,
        judged,
        {each.task.name: each.task.file.model_dump(mode="json") for each in asked},
        dtype=ran.dtype,
        processes=processes,
        seconds=ran.seconds,
    )


def _metrics(task: Task[HeadFile]) -> Mapping[str, Mapping[str, Any]] | None:
    """The metrics that a file names; None where it names none."""
    file, table = task.file, KINDS[task.file.output_type].table
    if file.metric_list is None:
        return None
    where = f"{task.name}: metric_list"
    found = asked_metrics(file.metric_list, table, (), file.output_type, where)
    require_libraries(libraries_of(list(found), table), where)
    return found


def _asked(
    spec: EvalSpec,
    task: Task[HeadFile],
    metrics: Mapping[str, Mapping[str, Any]] | None,
    checkpoint: Checkpoint,
) -> _Asked:
    file, cls, config = task.file, KINDS[task.file.output_type], checkpoint.model_config
    _check_keys(task, cls)
    task_class(cls.predict).of(config).head(config)
    rows = rows_of(task, tested_split(task))
    kind = cls(task, config, rows, metrics, spec.limit)
    names = [each.name for each in kind.wanted]
    require_libraries(libraries_of(names, cls.table), f"{task.name}: metric_list")
    options = {**file.options, **kind.options()}
    opened = OpenedTask.of(cls.predict, checkpoint, spec.model, options)
    columns = [kind.column(name) for name in cls.media]
    digest = data_digest(
        [hashable(row.values, columns, row.folder, row.where) for row in kind.data()]
    )
    clusters = clusters_of(task.name, file.cluster, [row.values for row in kind.rows])
    return _Asked(task, kind, kind.questions(), opened, digest, len(rows), clusters)


def _check_keys(task: Task[HeadFile], cls: type[Kind]) -> None:
    """Refuse names of inputs that there are not, and options that the measuring decides."""
    known = (*cls.asks, *cls.may_ask)
    for name in task.file.columns:
        if name not in known:
            raise UsageError(
                f"{task.file.output_type} asks no {name!r}",
                where=f"{task.name}: columns",
                fix=f"it asks {', '.join(known)}",
            )
    for name in cls.fixed:
        if name in task.file.options:
            raise UsageError(
                f"{name} is not asked for here: the metrics say what they need of it",
                where=f"{task.name}: options",
                fix="leave it out",
            )


def _judged(asked: _Asked, answers: Sequence[Any]) -> Judged:
    metrics = {each.label: each.metric for each in asked.kind.wanted}
    return judged_of(asked.task.name, asked.kind.judge(answers), metrics, asked.clusters)


class _Ran:
    """A model that answers task after task; it is loaded anew where it is asked otherwise.

    Attributes:
        dtype: of its weights.
        seconds: that it has answered for.
    """

    def __init__(
        self, spec: EvalSpec, job: Job, checkpoint: Checkpoint, processes: Processes
    ) -> None:
        self.spec, self.job, self.checkpoint, self.processes = spec, job, checkpoint, processes
        self.seconds, self.dtype = 0.0, ""
        self._loaded: tuple[Any, PredictTask[Any]] | None = None

    def answers(self, asked: _Asked, advance: Any) -> list[Any]:
        """The answers to all questions of a task."""
        task, spec = self._task(asked.opened), self.spec
        options = asked.opened.options.model_dump(mode="json")
        kept = kept_answers(
            spec,
            self.checkpoint,
            self.processes,
            self.dtype,
            predict=asked.kind.predict,
            options=options,
        )
        began = perf_counter()
        found = answered(
            task,
            asked.questions,
            media=asked.kind.media,
            vectors=asked.kind.vectors,
            batch_size=1 if spec.exact else spec.batch_size,
            kept=kept,
            processes=self.processes,
            advance=advance,
        )
        self.seconds += perf_counter() - began
        return found

    def conditions(self, asked: _Asked) -> Conditions:
        """What the figures of a task depend on."""
        tokenizer = self._task(asked.opened).parts.tokenizer if asked.kind.reads_text else None
        said = [
            f"{each.label}: {', '.join(f'{key}={value}' for key, value in each.options.items())}"
            for each in asked.kind.wanted
            if each.options
        ]
        return Conditions(
            task=asked.task.name,
            task_version=asked.task.file.version,
            task_sha256=asked.task.file.digest,
            data_sha256=asked.digest,
            samples=len(asked.kind.rows),
            tokenizer_sha256=None if tokenizer is None else tokenizer.fingerprint,
            bos="none" if tokenizer is None or not tokenizer.prefix else "each",
            bos_tokens=0 if tokenizer is None else len(tokenizer.prefix),
            normalizer="; ".join(said) or None,
            dtype=self.dtype,
            backend=BACKEND,
        )

    def _task(self, opened: OpenedTask) -> PredictTask[Any]:
        key = (opened.name, opened.options)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # before another one is there
            spec = self.spec
            task = opened.load(
                self.job.console,
                device=self.processes.device,
                dtype=spec.dtype,
                attention=spec.attention,
                keep_packed=spec.load_in is not None,
            )
            self._loaded = key, task
            self.dtype = dtype_name(task.parts.model.dtype)
        return self._loaded[1]
