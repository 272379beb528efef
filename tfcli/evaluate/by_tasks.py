"""`tfcli eval` on tasks: a model, its tasks, and one result of all of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import torch

import tfcli
from tfcli.checkpoints.beside import load_generation_config
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_model
from tfcli.devices import dtype_name
from tfcli.errors import UsageError
from tfcli.evaluate.answers import LanguageModel
from tfcli.evaluate.conditions import Conditions
from tfcli.evaluate.kept import Kept
from tfcli.evaluate.measure import Measure
from tfcli.evaluate.predict import decoder_begin, predictor
from tfcli.evaluate.run import BACKEND, model_task, plan_of, room
from tfcli.evaluate.samples import write_samples
from tfcli.evaluate.spec import EvalResult, EvalSpec, TaskResult
from tfcli.evaluate.spread import load_shared
from tfcli.evaluate.tasks.file import Task, read_task
from tfcli.evaluate.tasks.named import SHIPPED, shipped_tasks
from tfcli.evaluate.tasks.prompts import Chat
from tfcli.evaluate.tasks.run import Asked, ask, judge
from tfcli.evaluate.windows import Plan
from tfcli.generation.settings import read_settings
from tfcli.generation.tasks import text_task
from tfcli.process_group import Processes, join
from tfcli.quantize.load_in import load_in
from tfcli.recipe.content import READ_ONCE, digest_input
from tfcli.recipe.job import Job
from tfcli.tokenizers.chat import render_chat, written_special_tokens
from tfcli.tokenizers.chat_folder import choose_template, find_templates
from tfcli.tokenizers.fits import check_fits
from tfcli.tokenizers.load import Tokenizer, load_tokenizer


def run_tasks(spec: EvalSpec, job: Job) -> EvalResult:
    """Measure a model on tasks.

    The samples are read and the prompts made before the model is loaded.

    Raises:
        UsageError: what a task, its data or a key makes impossible; see `ask` and `judge`.
        WorkError: files that cannot be read, or predictions that are not finite.
    """
    tasks = named_tasks(spec)
    processes = join(spec.device)
    checkpoint = load_in(open_model(spec.model), spec.load_in, job.console)
    for note in checkpoint.notes:
        job.console.note(note)
    tokenizer = load_tokenizer(checkpoint.beside)
    config = checkpoint.model_config.text
    check_fits(tokenizer, config, spec.model)
    chat, template = _chat(spec, checkpoint, tokenizer)
    asked = [
        ask(each, shots=spec.shots, seed=spec.seed, limit=spec.limit, chat=chat) for each in tasks
    ]
    _check(spec, asked)
    task = model_task(spec, checkpoint.model_config)
    if any(each.output == "generate_until" for each in asked):
        made_by = text_task(checkpoint.model_config)
        if made_by != task:
            raise UsageError(
                f"{checkpoint.model_config.model_type} scores as {task} and makes text as {made_by}",
                where="task",
                fix="leave out tasks that ask for text",
            )
    settings = read_settings(load_generation_config(checkpoint.beside), config)
    begin = decoder_begin(settings, config, tokenizer.prefix) if task == "seq2seq-lm" else ()
    plan = _plan(spec, task, tokenizer, checkpoint, begin)
    prefix = () if spec.bos == "none" else tokenizer.prefix
    predict = predictor(task, tokenizer, config, begin)
    model = load_shared(spec, checkpoint, processes, job.console, task)
    language_model = LanguageModel(
        model=model,
        tokenizer=tokenizer,
        config=config,
        task=task,
        predict=predict,
        settings=settings,
        prefix=prefix,
        room=room(config, task, len(prefix), tokenizer, begin),
        batch_size=spec.batch_size,
        exact=spec.exact,
        overlong=spec.overlong,
        processes=processes,
        kept=_kept(spec, checkpoint, processes, dtype_name(model.dtype)),
    )
    began = perf_counter()
    judged = []
    with job.console.progress("asking", sum(each.questions for each in asked), "answers") as bar:
        for each in asked:
            judged.append(judge(each, language_model, plan, bar.advance))
    seconds = perf_counter() - began
    if job.folder is not None and processes.first:
        write_samples([s for each in judged for s in each.samples], job.folder)

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
            dtype=dtype_name(model.dtype),
            backend=BACKEND,
        )

    results = [
        TaskResult(task=one.task.name, conditions=conditions(one), measures=other.measures)
        for one, other in zip(asked, judged, strict=True)
    ]
    together = _together(spec, results)
    return EvalResult(
        task=together.task,
        model=spec.model,
        conditions=together,
        measures=_all_measures(results),
        tasks=results,
        samples=sum(len(each.samples) for each in judged),
        window=together.window,
        stride=together.stride,
        bos=spec.bos,
        bos_tokens=len(prefix),
        load_in=spec.load_in,
        dtype=dtype_name(model.dtype),
        device=processes.device.type,
        data_sha256=together.data_sha256,
        tokenizer_sha256=tokenizer.fingerprint,
        processes=processes.count,
        seconds=seconds,
    )


def named_tasks(spec: EvalSpec) -> list[Task]:
    """The tasks that a spec names.

    Raises:
        UsageError: a file that holds none, or two tasks of one name.
    """
    if spec.task_file is not None:
        found = read_task(Path(spec.task_file))
    else:
        shipped = shipped_tasks()
        names = list(shipped) if spec.task == SHIPPED else [spec.task]
        found = [task for name in names for task in read_task(shipped[name])]
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


def _plan(
    spec: EvalSpec,
    task: str,
    tokenizer: Tokenizer,
    checkpoint: Checkpoint,
    begin: tuple[int, ...],
) -> Plan:
    """How whole texts are cut: the last window of each is as long as the others, as in the harness,
    where the text is."""
    plan = plan_of(spec, task, tokenizer, checkpoint.model_config.text, begin)
    return Plan(plan.window, plan.stride, plan.prefix, plan.each, plan.inside, full=True)


def _chat(
    spec: EvalSpec, checkpoint: Checkpoint, tokenizer: Tokenizer
) -> tuple[Chat | None, str | None]:
    """What makes a conversation of a prompt, and the hash of its template."""
    if not spec.chat:
        return None, None
    template = choose_template(find_templates(checkpoint.beside))
    special = written_special_tokens(tokenizer)

    def chat(messages: list[dict[str, str]]) -> str:
        begun = messages[-1]["role"] == "assistant"
        return render_chat(
            template,
            messages,
            special_tokens=special,
            add_generation_prompt=not begun,
            continue_final_message=begun,
        ).text

    return chat, hashlib.sha256(template.encode()).hexdigest()


def _kept(spec: EvalSpec, checkpoint: Checkpoint, processes: Processes, dtype: str) -> Kept:
    """Answers of this model on this machine, run in this way; none where the model can be read only
    once, so that nothing stands for its content."""
    read = {"model": checkpoint.path, "adapter": checkpoint.adapter}
    digests = {name: digest_input(path, "model") for name, path in read.items() if path}
    if spec.family_file is not None:
        digests["family"] = digest_input(Path(spec.family_file), "code")
    if READ_ONCE in digests.values():
        return Kept(None, processes)
    return Kept.of(
        processes,
        **digests,
        load_in=spec.load_in,
        dtype=dtype,
        device=processes.device.type,
        attention=spec.attention,
        exact=spec.exact,
        tfcli=tfcli.__version__,
        torch=torch.__version__,
    )


def _together(spec: EvalSpec, results: Sequence[TaskResult]) -> Conditions:
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
            "task": spec.task if spec.task_file is None else Path(spec.task_file).stem,
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


def _all_measures(results: Sequence[TaskResult]) -> list[Measure]:
    if len(results) == 1:
        return results[0].measures
    return [
        measure.model_copy(update={"name": f"{each.task}/{measure.name}"})
        for each in results
        for measure in each.measures
    ]
