"""What a model's answers to one sample are worth: an item for each metric."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

from tfcli.errors import UsageError
from tfcli.evaluate.answers import LogLikelihood
from tfcli.evaluate.tasks.prompts import Prompt
from tfcli.evaluate.tasks.sandbox import passes
from tfcli.metrics.answers import figures as answer_figures
from tfcli.metrics.texts import errors, rouge_scores

Options = Mapping[str, Mapping[str, Any]]
Items = dict[str, Any]
_WORD_ENDS = re.compile(r"\s+")


def judge_continuation(found: LogLikelihood, asked: Options) -> Items:
    """A continuation: whether it is the likeliest, and its loss."""
    items = {"acc": float(found.greedy), "perplexity": -found.total}
    return {name: items[name] for name in asked}


def judge_text(text: str, found: LogLikelihood, asked: Options) -> Items:
    """A whole text: its loss, with what it is counted over."""
    words, size = len(_WORD_ENDS.split(text)), len(text.encode())
    items = {
        "word_perplexity": (-found.total, words),
        "byte_perplexity": (-found.total, size),
        "bits_per_byte": (-found.total / math.log(2), size),
    }
    return {name: items[name] for name in asked}


def judge_choice(
    prompt: Prompt,
    found: Sequence[LogLikelihood],
    alone: Sequence[LogLikelihood],
    asked: Options,
    where: str,
) -> tuple[Items, int]:
    """A choice, and which one it is.

    The likeliest choice counts, by its log likelihood as it is, over its characters or over its
    bytes, or above what it has without a context. Of equal ones it is the first.

    Args:
        prompt: with choices.
        found: of each choice.
        alone: of each without a context, where mutual information is asked for.
        asked: the metrics.

    Raises:
        UsageError: what is right is none of the choices.
    """
    assert prompt.choices is not None, "the task has choices"
    choices = prompt.choices
    totals = [each.total for each in found]
    right = _right(prompt, where)
    best = _best(totals)
    peak = max(totals)
    shares = [math.exp(total - peak) for total in totals]
    shares = [share / sum(shares) for share in shares]
    both = list(zip(totals, choices, strict=True))
    by_characters = [total / _size(choice) for total, choice in both]
    by_bytes = [total / _size(choice.encode()) for total, choice in both]
    items: Items = {
        "acc": float(best in right),
        "acc_norm": float(_best(by_characters) in right),
        "acc_bytes": float(_best(by_bytes) in right),
        "exact_match": float(any(found[index].greedy for index in right)),
        "f1": (right[0], best),
        "mcc": (right[0], best),
        "brier_score": (right[0], shares),
        "ece": (right[0], shares),
    }
    if alone:
        gains = [one - other.total for one, other in zip(totals, alone, strict=True)]
        items["acc_mutual_info"] = float(_best(gains) in right)
    return {name: items[name] for name in asked}, best


def judge_made(prompt: Prompt, answers: Sequence[str], asked: Options, where: str) -> Items:
    """A text that was made; of several right ones the best counts, or the first for figures of all
    samples together. Only pass@k looks at more than one answer.

    Raises:
        UsageError: a target that is no text.
    """
    targets = _targets(prompt, where)
    answer = answers[0]
    names = [name for name in asked if name.startswith("rouge")]
    rouge = rouge_scores(names, [answer] * len(targets), targets)
    items: Items = {}
    for name, options in asked.items():
        if name == "exact_match":
            items[name] = max(
                float(plain_text(answer, options) == plain_text(t, options)) for t in targets
            )
        elif name == "answer_f1":
            items[name] = answer_figures(["answer_f1"], [answer], [targets])["answer_f1"]
        elif name in rouge:
            items[name] = max(rouge[name])
        elif name == "pass_at_k":
            items[name] = _pass_at_k(answers, targets[0], options, where)
        elif name == "wer":
            items[name] = errors("wer", targets[0], answer)
        else:
            items[name] = (targets[0], answer)
    return items


def pass_at_k(count: int, right: int, k: int) -> float:
    """The chance that one of k answers is right, when `right` of `count` are (Chen et al. 2021)."""
    if count - right < k:
        return 1.0
    return 1.0 - math.prod(1 - k / each for each in range(count - right + 1, count + 1))


def _pass_at_k(answers: Sequence[str], test: str, options: Mapping[str, Any], where: str) -> float:
    k = int(options.get("k", 1))
    if k > len(answers):
        raise UsageError(
            f"pass@{k} needs {k} answers, and there are {len(answers)}",
            where=where,
            fix=f"repeats: {k}",
        )
    seconds = float(options.get("seconds", 5))
    memory = int(options.get("memory", 512 << 20))
    right = sum(passes(answer + "\n" + test, seconds, memory) for answer in answers)
    return pass_at_k(len(answers), right, k)


def _right(prompt: Prompt, where: str) -> list[int]:
    """The numbers of the right choices."""
    assert prompt.choices is not None, "the task has choices"
    target = prompt.target[0] if prompt.inputs else prompt.target
    found = []
    for each in target if isinstance(target, list) else [target]:
        number = prompt.choices.index(each) if each in prompt.choices else each
        if not isinstance(number, int) or not 0 <= number < len(prompt.choices):
            raise UsageError(
                f"what is right is none of the {len(prompt.choices)} choices: {each!r}",
                where=where,
                fix="doc_to_target gives the number of a choice, or its text",
            )
        found.append(int(number))
    return found


def _targets(prompt: Prompt, where: str) -> list[str]:
    target = prompt.target
    if prompt.choices is not None and isinstance(target, int):
        target = prompt.choices[target]
    several = target if isinstance(target, list) else [target]
    if not several:
        raise UsageError("there is no right answer", where=where)
    return [str(each) for each in several]


def _best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda index: values[index])


def _size(text: str | bytes) -> int:
    return max(1, len(text))


def plain_text(text: str, options: Mapping[str, Any]) -> str:
    """A text without what an exact match does not look at."""
    for pattern in options.get("regexes_to_ignore") or ():
        text = re.sub(pattern, "", text)
    if options.get("ignore_case"):
        text = text.lower()
    if options.get("ignore_punctuation"):
        text = text.translate(str.maketrans("", "", string.punctuation))
    if options.get("ignore_numbers"):
        text = text.translate(str.maketrans("", "", string.digits))
    return text
