"""`tfcli eval` on tasks: a model, its tasks, and one result of all of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from tfcli.devices import dtype_name
from tfcli.errors import UsageError
from tfcli.evaluate.conditions import Conditions
from tfcli.evaluate.exports import write_exports
from tfcli.evaluate.heads.file import HeadFile
from tfcli.evaluate.measure import Measure
from tfcli.evaluate.opened import Opened
from tfcli.evaluate.run import BACKEND
from tfcli.evaluate.samples import write_samples
from tfcli.evaluate.spec import EvalResult, EvalSpec, TaskResult
from tfcli.evaluate.tasks.file import Task, read_task
from tfcli.evaluate.tasks.judged import Judged
from tfcli.evaluate.tasks.keys import CommonKeys, TaskFile
from tfcli.evaluate.tasks.named import SHIPPED, known_tasks, shipped_tasks
from tfcli.evaluate.tasks.run import Asked, ask, judge
from tfcli.process_group import Processes
from tfcli.recipe.job import Job


def run_tasks(spec: EvalSpec, job: Job) -> EvalResult:
    """Measure a model on tasks.

    The samples are read and the prompts made before the model is loaded.

    Raises:
        UsageError: what a task, its data or a key makes impossible; see `ask` and `judge`.
        WorkError: files that cannot be read, or predictions that are not finite.
    """
    if spec.harness is not None:
        from tfcli.evaluate.harness import run_harness

        return run_harness(spec, job)
    named = named_tasks(spec)
    heads = [Task(each.file, each.folder) for each in named if isinstance(each.file, HeadFile)]
    tasks = [Task(each.file, each.folder) for each in named if isinstance(each.file, TaskFile)]
    if heads and tasks:
        raise UsageError(
            f"{heads[0].name} is of a model with a head and {tasks[0].name} of a language model: "
            "no model is both",
            where="task",
            fix="name them one by one",
        )
    if heads:
        from tfcli.evaluate.heads.run import run_heads

        return run_heads(spec, job, heads)
    opened = Opened.of(spec, job)
    processes, tokenizer, prefix = opened.processes, opened.tokenizer, opened.prefix
    chat, template = opened.chat() if spec.chat else (None, None)
    asked = [
        ask(each, shots=spec.shots, seed=spec.seed, limit=spec.limit, chat=chat) for each in tasks
    ]
    _check(spec, asked)
    if any(each.output == "generate_until" for each in asked):
        opened.require_texts()
    language_model, plan = opened.load(job)
    dtype = dtype_name(language_model.model.dtype)
    began = perf_counter()
    judged = []
    with job.console.progress("asking", sum(each.questions for each in asked), "answers") as bar:
        for each in asked:
            judged.append(judge(each, language_model, plan, bar.advance))
    seconds = perf_counter() - began

    def conditions(each: Asked) -> Conditions:
        rolls = each.output == "loglikelihood_rolling"
        cuts = rolls or spec.overlong == "cut"
        drawn = each.shots > 0 and each.task.file.fewshot_config.sampler == "default"
        return Conditions(
            task=each.task.name,
            task_version=each.task.file.version,
            task_sha256=each.task.file.digest,
            data_sha256=each.digest,
            samples=len(each.docs),
            tokenizer_sha256=tokenizer.fingerprint,
            template_sha256=template,
            bos=spec.bos if rolls or not prefix else "each",
            bos_tokens=len(prefix),
            shots=each.shots,
            shots_seed=spec.seed if drawn else None,
            window=(plan.window if rolls else language_model.room) if cuts else None,
            stride=plan.step if rolls else None,
            normalizer=each.normalizer,
            dtype=dtype,
            backend=BACKEND,
        )

    results = [
        TaskResult(
            task=one.task.name,
            conditions=conditions(one),
            measures=other.measures,
            available=one.available,
        )
        for one, other in zip(asked, judged, strict=True)
    ]
    return finish(
        spec,
        job,
        results,
        judged,
        {each.task.name: each.task.file.model_dump(mode="json") for each in asked},
        dtype=dtype,
        processes=processes,
        seconds=seconds,
    )


def finish(
    spec: EvalSpec,
    job: Job,
    results: Sequence[TaskResult],
    judged: Sequence[Judged],
    files: Mapping[str, Any],
    *,
    dtype: str,
    processes: Processes,
    seconds: float,
) -> EvalResult:
    """One result of all tasks; with an output, its samples and exports.

    Args:
        results: of each task.
        judged: its samples.
        files: task -> what its file says.
        dtype: of the weights.
        processes: those that shared the work.
        seconds: that the model took.
    """
    together = together_of(spec, results)
    result = EvalResult(
        task=together.task,
        model=spec.model,
        conditions=together,
        measures=all_measures(results),
        tasks=list(results),
        samples=sum(len(each.samples) for each in judged),
        window=together.window,
        stride=together.stride,
        bos=spec.bos,
        bos_tokens=together.bos_tokens,
        load_in=spec.load_in,
        dtype=dtype,
        device=processes.device.type,
        data_sha256=together.data_sha256,
        tokenizer_sha256=together.tokenizer_sha256,
        processes=processes.count,
        seconds=seconds,
    )
    if job.folder is not None and processes.first:
        write_samples([sample for each in judged for sample in each.samples], job.folder)
        write_exports(spec.export, result, files, job.folder)
    return result


def first_of_heads(spec: EvalSpec) -> Task[HeadFile] | None:
    """The first of a spec's tasks that is of a model with a head; None where there is none.

    Raises:
        UsageError: as `named_tasks`.
    """
    if spec.on_text or spec.harness is not None:
        return None
    for each in named_tasks(spec):
        if isinstance(each.file, HeadFile):
            return Task(each.file, each.folder)
    return None


def named_tasks(spec: EvalSpec) -> list[Task[CommonKeys]]:
    """The tasks that a spec names.

    Raises:
        UsageError: a file that holds none, or two tasks of one name.
    """
    if spec.task_file is not None:
        found = read_task(Path(spec.task_file))
    else:
        names = list(shipped_tasks()) if spec.task == SHIPPED else [spec.task]
        found = [task for name in names for task in read_task(known_tasks()[name])]
    twice = {task.name for task in found if sum(other.name == task.name for other in found) > 1}
    if twice:
        raise UsageError(f"several tasks are called {', '.join(sorted(twice))}", where="task")
    return found


def _check(spec: EvalSpec, asked: Sequence[Asked]) -> None:
    """Refuse keys that none of the tasks looks at."""
    rolls = any(each.output == "loglikelihood_rolling" for each in asked)
    for key, value in (("sequence_length", spec.window), ("stride", spec.stride)):
        if value is not None and not rolls:
            raise UsageError(
                f"{key} has no effect: no task is of whole texts, which are cut into windows",
                where=key,
                code="usage.no_effect",
            )
    if spec.shots and all(each.output == "loglikelihood_rolling" for each in asked):
        raise UsageError("a task of whole texts has no examples", where="shots")


def together_of(spec: EvalSpec, results: Sequence[TaskResult]) -> Conditions:
    """The conditions of all tasks as one: a hash over them where they are several."""
    first = results[0].conditions
    if len(results) == 1:
        return first
    every = [each.conditions for each in results]

    def over(values: Sequence[object]) -> str:
        return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()

    windows = {each.window for each in every} - {None}
    strides = {each.stride for each in every} - {None}
    return first.model_copy(
        update={
            "task": spec.harness or (Path(spec.task_file).stem if spec.task_file else spec.task),
            "task_version": None,
            "task_sha256": over([each.model_dump(mode="json") for each in every]),
            "data_sha256": over([each.data_sha256 for each in every]),
            "samples": sum(each.samples for each in every),
            "shots": max(each.shots for each in every),
            "shots_seed": next((s.shots_seed for s in every if s.shots_seed is not None), None),
            "window": next(iter(windows), None),
            "stride": next(iter(strides), None),
            "normalizer": None,
        }
    )


def all_measures(results: Sequence[TaskResult]) -> list[Measure]:
    """The measures of all tasks, with the task in the name where there are several."""
    if len(results) == 1:
        return results[0].measures
    return [
        measure.model_copy(update={"name": f"{each.task}/{measure.name}"})
        for each in results
        for measure in each.measures
    ]
