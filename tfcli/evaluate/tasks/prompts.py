"""The prompts of a task: a description, examples with their answers, and the question.

All of it is put together as lm-evaluation-harness (0.4) does it, so that a task's file means the
same here; the examples are drawn as there, by one generator over all samples in their order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tfcli.errors import UsageError
from tfcli.evaluate.tasks.data import Doc, read_split, tested_split
from tfcli.evaluate.tasks.file import Task
from tfcli.evaluate.tasks.keys import TaskFile
from tfcli.evaluate.tasks.templates import choices_of, rendered, target_of, text_of

Chat = Callable[[list[dict[str, str]]], str]
"""From the messages of a conversation to its text, up to where the assistant begins."""


@dataclass(frozen=True)
class Prompt:
    """What a model is asked of one sample.

    Args:
        contexts: what it reads; several where the choices are in the context.
        choices: texts to choose from; None where the task has none.
        target: what is right: a text, a number of a choice, or a list of either.
        inputs: whether a choice stands in the context, and the target after it.
    """

    contexts: tuple[str, ...]
    choices: tuple[str, ...] | None
    target: Any
    inputs: bool = False

    @property
    def context(self) -> str:
        """The one context."""
        return self.contexts[0]


@dataclass(frozen=True)
class _Turn:
    """A part of a prompt: who says it, and what comes behind it in plain text."""

    role: str
    text: str
    behind: str = ""


def samples_of(task: Task[TaskFile]) -> list[Doc]:
    """The samples of a task: those of the test split, else of the validation split.

    Raises:
        UsageError: the task has neither.
    """
    return read_split(task, tested_split(task))


def prompts_of(
    task: Task[TaskFile], docs: Sequence[Doc], shots: int, seed: int, chat: Chat | None = None
) -> list[Prompt]:
    """What is asked of each sample.

    Args:
        task: not of whole texts.
        docs: the samples.
        shots: examples before each.
        seed: they are drawn with.
        chat: makes a conversation of a prompt; None: it is plain text.

    Raises:
        UsageError: a column that the samples lack, too few examples, or a template whose text is
            none.
    """
    examples = _Examples.of(task, shots, seed) if shots else None
    return [_prompt(task, doc, number, examples, chat) for number, doc in enumerate(docs)]


def text_of_sample(task: Task[TaskFile], doc: Doc, number: int) -> str:
    """The whole text of a sample, for tasks of texts."""
    where = f"{task.name}: doc_to_target, sample {number}"
    return str(target_of(task.file.doc_to_target, doc, where, False))


def _prompt(
    task: Task[TaskFile], doc: Doc, number: int, examples: _Examples | None, chat: Chat | None
) -> Prompt:
    file = task.file
    where = f"{task.name}, sample {number}"
    turns = []
    description = file.description
    description = str(doc[description]) if description in doc else rendered(description, doc, where)
    if description:
        turns.append(_Turn("system", description))
    if examples:
        for example in examples.before(doc):
            turns += examples.turns(example, where)
    choices = None
    if file.doc_to_choice is not None:
        choices = tuple(choices_of(file.doc_to_choice, doc, where))
    question = text_of(file.doc_to_text, doc, where, choices is not None)
    target = target_of(file.doc_to_target, doc, where, choices is not None)
    begin = None
    if file.gen_prefix is not None:
        begin = text_of(file.gen_prefix, doc, where, False)
    if isinstance(question, int) and not isinstance(question, bool):
        assert choices is not None, "a number is read as one only beside choices"
        contexts = tuple(
            _joined([*turns, *_asked(each, None, begin, "", "")], chat) for each in choices
        )
        return Prompt(contexts, choices, (question, str(target)), inputs=True)
    if not isinstance(question, str):
        raise UsageError(f"doc_to_text gives no text: {question!r}", where=where)
    turns += _asked(question, None, begin, file.target_delimiter, "")
    return Prompt((_joined(turns, chat),), choices, target)


def _joined(turns: Sequence[_Turn], chat: Chat | None) -> str:
    if chat is None:
        return "".join(turn.text + turn.behind for turn in turns)
    return chat([{"role": turn.role, "content": turn.text} for turn in turns])


def _asked(
    question: str, answer: str | None, begin: str | None, delimiter: str, behind: str
) -> list[_Turn]:
    """A question, with its answer or with the words that an answer begins with."""
    if answer:
        gap = delimiter if not begin or _apart(question, begin) else ""
        return [
            _Turn("user", question, gap),
            _Turn("assistant", _together(begin, answer), behind),
        ]
    if begin:
        gap = delimiter if _apart(question, begin) else ""
        return [_Turn("user", question, gap), _Turn("assistant", begin)]
    return [_Turn("user", question)]


def _apart(first: str, second: str) -> bool:
    """Whether no space stands between two texts."""
    return bool(first) and not (first[-1].isspace() or second[0].isspace())


def _together(first: str | None, second: str) -> str:
    if not first:
        return second
    return f"{first} {second}" if _apart(first, second) else first + second


@dataclass(frozen=True)
class _Examples:
    """The examples that a task's prompts begin with.

    Args:
        pool: they are drawn from.
        chance: draws them, sample after sample.
        shared: the pool may hold the sample itself, which is then not taken.
    """

    task: Task[TaskFile]
    pool: list[Doc]
    count: int
    chance: random.Random
    shared: bool

    @classmethod
    def of(cls, task: Task[TaskFile], count: int, seed: int) -> _Examples:
        """The examples of a task.

        Raises:
            UsageError: there are too few.
        """
        file, shots = task.file, task.file.fewshot_config
        split = shots.split or file.fewshot_split
        shared = split == file.test_split
        if split is None and shots.samples is not None:
            pool: list[Doc] = list(shots.samples)
        else:
            from_other = file.training_split or file.validation_split
            # Samples that are asked are no examples for themselves.
            shared = shared or (split or from_other) in (None, file.test_split)
            pool = read_split(task, split or from_other or file.test_split or "")
        if shots.fewshot_indices:
            pool = [pool[index] for index in shots.fewshot_indices]
        if count + shared > len(pool):
            raise UsageError(
                f"{count} examples are asked for, and there are {len(pool) - shared}",
                where=f"{task.name}: num_fewshot",
                fix=f"--shots {max(0, len(pool) - shared)}",
            )
        return cls(task, pool, count, random.Random(seed), shared)

    def before(self, doc: Doc) -> Sequence[Doc]:
        """The examples before a sample."""
        if self.task.file.fewshot_config.sampler == "first_n":
            pool = [each for each in self.pool if each != doc] if self.shared else self.pool
            return pool[: self.count]
        if not self.shared:
            return self.chance.sample(self.pool, self.count)
        drawn = self.chance.sample(self.pool, self.count + 1)
        found = [each for each in drawn if each != doc][: self.count]
        if len(found) < self.count:
            found = self.chance.sample([each for each in self.pool if each != doc], self.count)
        return found

    def turns(self, doc: Doc, where: str) -> list[_Turn]:
        """An example as a question and its answer."""
        file, shots = self.task.file, self.task.file.fewshot_config
        where = f"{where}: an example"
        template = shots.doc_to_choice or file.doc_to_choice
        choices = choices_of(template, doc, where) if template is not None else None
        question = text_of(
            _or(shots.doc_to_text, file.doc_to_text), doc, where, choices is not None
        )
        answer = target_of(
            _or(shots.doc_to_target, file.doc_to_target), doc, where, choices is not None
        )
        if choices and isinstance(question, int):
            question = choices[question]
        elif choices and isinstance(answer, int):
            answer = choices[answer]
        answer = answer[0] if isinstance(answer, list) else answer
        begin = _or(shots.gen_prefix, file.gen_prefix)
        return _asked(
            str(question),
            str(answer),
            None if begin is None else text_of(begin, doc, where, False),
            _or(shots.target_delimiter, file.target_delimiter),
            _or(shots.fewshot_delimiter, file.fewshot_delimiter),
        )


def _or(own: Any, common: Any) -> Any:
    return common if own is None else own
