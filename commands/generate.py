"""`tfcli generate`: continue a prompt, or answer it."""

from __future__ import annotations

import sys
from math import exp

from tfcli.commands.options import spec_command
from tfcli.console import Console
from tfcli.generation.display import writer
from tfcli.generation.spec import (
    Answer,
    GenerateResult,
    GenerateSpec,
    is_answer,
    shown_before,
    shown_part,
)


def show(result: GenerateResult, console: Console) -> None:
    """The new text, and one line of figures."""
    write = writer(sys.stdout)
    if result.audio is not None:
        parts = result.segments if result.timestamps else None
        write("".join(shown_part(part, True) for part in parts or ()) or f"{result.text}\n")
    for answer in result.all():
        if result.echo:
            write(shown_before(answer.prompt, is_answer(result.task, result.chat)), dim=True)
        write(answer.text + "\n")
    show_figures(result, console)


def show_likelihoods(answer: Answer, console: Console) -> None:
    """A line a new token, beside the text: how likely it was, and what was likeliest."""
    for each in answer.logprobs or ():
        others = ", ".join(f"{one.token!r} {exp(one.logprob):.1%}" for one in each.top)
        console.note(f"{exp(each.logprob):>6.1%}  {each.token!r}{others and f'  of {others}'}")


def show_figures(result: GenerateResult, console: Console) -> None:
    """What is left to say when the text is written already."""
    if result.audio is not None:
        count, rate = len(result.token_ids or ()), result.tokens_per_second
        spoken = "" if result.language is None else f", language {result.language}"
        console.note(f"{count} tokens, {rate:.1f} tokens/s{spoken}")
        return
    answers = result.all()
    for answer in answers:
        show_likelihoods(answer, console)
    count = sum(len(answer.token_ids) for answer in answers)
    ended = sum(answer.finish_reason == "stop" for answer in answers)
    how = f"{len(answers)} answers, {ended} ended"
    if len(answers) == 1:
        how = "the text ended" if ended else "its length is reached"
    console.note(f"{count} tokens, {result.tokens_per_second:.1f} tokens/s, {how}")


app = spec_command(
    GenerateSpec,
    show,
    streamed=show_figures,
    epilog="tfcli generate MODEL 'Once upon a time' --temperature 0.8\n\n"
    "tfcli generate MODEL 'Why is the sky blue?' --chat --system 'Be brief.'\n\n"
    "tfcli generate MODEL --audio speech.flac --language de --timestamps\n\n"
    "tfcli generate MODEL - --stop '###' < prompt.txt",
)
