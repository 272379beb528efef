"""Measuring a model on tasks: from files to samples, answers, scores and measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tfcli.errors import UsageError
from tfcli.evaluate.answers import LanguageModel, LogLikelihood, Pair
from tfcli.evaluate.decode import TextRequest
from tfcli.evaluate.tasks.data import Doc, data_digest
from tfcli.evaluate.tasks.file import Task
from tfcli.evaluate.tasks.filters import describe, pipeline
from tfcli.evaluate.tasks.judge import judge_choice, judge_continuation, judge_made, judge_text
from tfcli.evaluate.tasks.judged import Judged, Row, clusters_of, judged_of
from tfcli.evaluate.tasks.keys import TaskFile
from tfcli.evaluate.tasks.metric import asked_metrics, libraries_of
from tfcli.evaluate.tasks.metrics import DEFAULTS, TABLES
from tfcli.evaluate.tasks.prompts import Chat, Prompt, prompts_of, samples_of, text_of_sample
from tfcli.evaluate.windows import Plan
from tfcli.metrics.compute import require_libraries

Advance = Callable[[int], None]
_MADE = ("until", "max_gen_toks", "do_sample", "temperature", "top_k", "top_p")
"""Keys of `generation_kwargs`."""


@dataclass(frozen=True)
class Asked:
    """One task, ready to be asked.

    Args:
        task: of which the samples are.
        docs: the samples.
        prompts: of the samples; empty for tasks of whole texts.
        texts: the samples' texts; empty for other tasks.
        metrics: metric -> its options.
        shots: examples before each prompt.
        digest: the hash of the samples' content.
        available: samples that the task has.
    """

    task: Task[TaskFile]
    docs: Sequence[Doc]
    prompts: Sequence[Prompt]
    texts: Sequence[str]
    metrics: dict[str, dict[str, Any]]
    shots: int
    digest: str
    available: int

    @property
    def output(self) -> str:
        """What the task asks a model for."""
        return self.task.file.output_type

    @property
    def normalizer(self) -> str | None:
        """What is done to answers before they are judged."""
        file = self.task.file
        said = [f"{each.name}: {describe(each.filter)}" for each in file.filter_list or ()]
        said += [
            f"{name}: {', '.join(f'{key}={value}' for key, value in options.items())}"
            for name, options in self.metrics.items()
            if options
        ]
        return "; ".join(said) or None

    @property
    def questions(self) -> int:
        """The answers that a model is to give."""
        if self.output == "generate_until":
            return len(self.prompts) * self.task.file.repeats
        if self.output != "multiple_choice":
            return len(self.docs)
        return sum(len(pairs) for prompt in self.prompts for pairs in self.choice_pairs(prompt))

    def choice_pairs(self, prompt: Prompt) -> tuple[list[Pair], list[Pair]]:
        """Each choice after its context, and without one where that is asked for."""
        assert prompt.choices is not None, "choices are looked for when the task is read"
        gap = self.task.file.target_delimiter
        if prompt.inputs:
            return [Pair(context, gap + prompt.target[1]) for context in prompt.contexts], []
        pairs = [Pair(prompt.context, gap + choice) for choice in prompt.choices]
        if "acc_mutual_info" not in self.metrics:
            return pairs, []
        return pairs, [Pair("", gap + choice) for choice in prompt.choices]


def ask(
    task: Task[TaskFile], *, shots: int | None, seed: int, limit: int | None, chat: Chat | None
) -> Asked:
    """Read a task's samples and make its prompts. No model is needed for it.

    Args:
        shots: examples before each prompt; None: as the task says.
        seed: examples are drawn with.
        limit: samples at most; None: all.
        chat: makes a conversation of a prompt; None: it is plain text.

    Raises:
        UsageError: what `prompts_of` and `asked_metrics` refuse; keys without an effect.
        WorkError: a broken file; a metric's library that is not installed.
    """
    file = task.file
    output, where = file.output_type, f"{task.name}: metric_list"
    metrics = asked_metrics(file.metric_list, TABLES[output], DEFAULTS[output], output, where)
    require_libraries(libraries_of(list(metrics), TABLES[output]), where)
    _check(task)
    count = shots if shots is not None else (file.num_fewshot or 0)
    every = samples_of(task)
    docs = every[:limit]
    digest = data_digest(docs)
    if file.output_type == "loglikelihood_rolling":
        if count:
            raise UsageError("a task of whole texts has no examples", where=f"{task.name}: shots")
        texts = [text_of_sample(task, doc, number) for number, doc in enumerate(docs)]
        return Asked(task, docs, (), texts, metrics, 0, digest, len(every))
    prompts = prompts_of(task, docs, count, seed, chat)
    if "f1" in metrics:
        _require_two_choices(prompts, f"{task.name}: metric_list")
    if chat is not None:
        # The assistant's words begin right behind the template's.
        task = replace(task, file=file.model_copy(update={"target_delimiter": ""}))
    return Asked(task, docs, prompts, (), metrics, count, digest, len(every))


def judge(asked: Asked, model: LanguageModel, plan: Plan, advance: Advance) -> Judged:
    """Ask a model, and judge its answers.

    Args:
        plan: how whole texts are cut into windows.
        advance: told how many answers there are since the last call.

    Raises:
        UsageError: prompts that the model cannot take, or targets that fit no answer.
        WorkError: predictions that are not finite.
    """
    rows = _BY_OUTPUT[asked.output](asked, model, plan, advance)
    table = TABLES[asked.output]
    labels = rows[0].items if rows else ()
    named = {label: table[label.partition(",")[0]] for label in labels}
    clusters = clusters_of(asked.task.name, asked.task.file.cluster, asked.docs)
    return judged_of(asked.task.name, rows, named, clusters)


def _continuations(asked: Asked, model: LanguageModel, plan: Plan, advance: Advance) -> list[Row]:
    pairs = [Pair(prompt.context, str(prompt.target)) for prompt in asked.prompts]
    return [
        Row(judge_continuation(found, asked.metrics), pair.context, pair.continuation, found.total)
        for pair, found in zip(pairs, model.loglikelihood(pairs, advance), strict=True)
    ]


def _texts(asked: Asked, model: LanguageModel, plan: Plan, advance: Advance) -> list[Row]:
    return [
        Row(judge_text(text, found, asked.metrics), "", text, found.total)
        for text, found in zip(asked.texts, model.rolling(asked.texts, plan, advance), strict=True)
    ]


def _choices(asked: Asked, model: LanguageModel, plan: Plan, advance: Advance) -> list[Row]:
    each = [asked.choice_pairs(prompt) for prompt in asked.prompts]
    flat = [pair for both in each for pairs in both for pair in pairs]
    found = iter(model.loglikelihood(flat, advance))
    rows = []
    for number, (prompt, (pairs, others)) in enumerate(zip(asked.prompts, each, strict=True)):
        said = [next(found) for _ in pairs]
        alone = [next(found) for _ in others]
        where = f"{asked.task.name}: doc_to_target, sample {number}"
        items, best = judge_choice(prompt, said, alone, asked.metrics, where)
        rows.append(_choice_row(prompt, items, said, best))
    return rows


def _choice_row(
    prompt: Prompt, items: dict[str, Any], said: Sequence[LogLikelihood], best: int
) -> Row:
    answer = {"choice": best, "loglikelihoods": [each.total for each in said]}
    target = prompt.target[0] if prompt.inputs else prompt.target
    return Row(items, prompt.context, {"choices": prompt.choices, "right": target}, answer)


def _made(asked: Asked, model: LanguageModel, plan: Plan, advance: Advance) -> list[Row]:
    file = asked.task.file
    how = _decoding(asked.task)
    prompts = [prompt.context for prompt in asked.prompts for _ in range(file.repeats)]
    each = [replace(how, seed=number) for number in range(len(prompts))]
    texts = model.generate_until(prompts, each, advance)
    filters = [
        (f",{each.name}" if each.name != "none" else "", each.filter)
        for each in file.filter_list or ()
    ] or [("", [])]
    steps = [
        (ending, pipeline(given, f"{asked.task.name}: filter_list")) for ending, given in filters
    ]
    rows = []
    for number, prompt in enumerate(asked.prompts):
        answers = texts[number * file.repeats : (number + 1) * file.repeats]
        items: dict[str, Any] = {}
        where = f"{asked.task.name}, sample {number}"
        for ending, step in steps:
            judged = judge_made(prompt, step(list(answers)), asked.metrics, where)
            items |= {f"{name}{ending}": item for name, item in judged.items()}
        answer: Any = answers[0] if file.repeats == 1 else answers
        rows.append(Row(items, prompt.context, prompt.target, answer))
    return rows


_BY_OUTPUT = {
    "loglikelihood": _continuations,
    "loglikelihood_rolling": _texts,
    "multiple_choice": _choices,
    "generate_until": _made,
}


def _decoding(task: Task[TaskFile]) -> TextRequest:
    """How the task's texts are made.

    Raises:
        UsageError: keys that are not followed, or that contradict each other.
    """
    given = task.file.generation_kwargs or {}
    where = f"{task.name}: generation_kwargs"
    how = TextRequest.of(given, [task.file.fewshot_delimiter])
    if how.draw and given.get("temperature") == 0:
        raise UsageError("do_sample and a temperature of 0 contradict each other", where=where)
    if how.max_new_tokens < 1:
        raise UsageError("max_gen_toks must be 1 or more", where=where)
    return how


def _check(task: Task[TaskFile]) -> None:
    """Refuse keys of a task that contradict one another, or have no effect."""
    file = task.file
    if file.output_type == "generate_until":
        for key in file.generation_kwargs or {}:
            if key not in _MADE:
                raise UsageError(
                    f"{key} of generation_kwargs is not followed",
                    where=f"{task.name}: generation_kwargs",
                    fix=f"known: {', '.join(_MADE)}",
                )
        _decoding(task)
        for each in file.filter_list or ():
            pipeline(each.filter, f"{task.name}: filter_list")
    else:
        _refuse_idle(task)
    needs = ["doc_to_target"]
    needs += ["doc_to_text"] if file.output_type != "loglikelihood_rolling" else []
    needs += ["doc_to_choice"] if file.output_type == "multiple_choice" else []
    for key in needs:
        if getattr(file, key) is None:
            raise UsageError(f"the task has no {key}", where=f"{task.name}: {key}")


def _refuse_idle(task: Task[TaskFile]) -> None:
    """Refuse keys that only tasks look at which have texts made."""
    file = task.file
    given = {
        "generation_kwargs": file.generation_kwargs is not None,
        "repeats": file.repeats != 1,
        "filter_list": bool(file.filter_list),
    }
    for key, is_given in given.items():
        if is_given:
            raise UsageError(
                f"{key} has no effect with output_type: {file.output_type}",
                where=f"{task.name}: {key}",
            )


def _require_two_choices(prompts: Sequence[Prompt], where: str) -> None:
    """Refuse f1, which is that of the second of two choices, where there are others."""
    for number, prompt in enumerate(prompts):
        count = len(prompt.choices or ())
        if count != 2:
            raise UsageError(
                f"f1 is of two choices, and sample {number} has {count}",
                where=where,
                fix="use acc or mcc",
            )
