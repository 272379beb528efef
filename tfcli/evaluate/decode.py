"""Texts that a task asks a model for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tfcli.generation.sampling import Draw
from tfcli.generation.settings import TextSettings
from tfcli.generation.tasks import ANSWERS, CONTINUES, decoding, read_alone, room_after
from tfcli.generation.writing import Text
from tfcli.models.heads.seq2seq_lm import Seq2SeqLM
from tfcli.models.model import Model
from tfcli.tokenizers.load import Tokenizer

_MOST = 256
"""New tokens of a text where a task does not say, as in lm-evaluation-harness."""


@dataclass(frozen=True)
class TextRequest:
    """How a text is made.

    Args:
        until: texts that end it, and are left out.
        max_new_tokens: at most so many.
        temperature: of draws; 0 takes the likeliest token.
        top_k: draws are from so many likeliest tokens; None: from all.
        top_p: draws are from the likeliest tokens that have this probability together.
        seed: of the draws.
    """

    until: tuple[str, ...]
    max_new_tokens: int
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    @classmethod
    def of(cls, given: Mapping[str, Any], until: Sequence[str]) -> TextRequest:
        """What a task's `generation_kwargs` say, and what ends a text where they do not."""
        ends = given.get("until")
        if ends is None:
            ends = until
        several = [ends] if isinstance(ends, str) else ends
        temperature = float(given.get("temperature") or 0.0)
        draws = bool(given.get("do_sample", temperature > 0))
        return cls(
            until=tuple(str(each) for each in several if each),
            max_new_tokens=int(given.get("max_gen_toks", _MOST)),
            temperature=(temperature or 1.0) if draws else 0.0,
            top_k=given.get("top_k"),
            top_p=given.get("top_p"),
        )

    @property
    def draw(self) -> Draw | None:
        """How tokens are drawn; None: the likeliest is taken."""
        if self.temperature == 0:
            return None
        return Draw(self.temperature, top_k=self.top_k, top_p=self.top_p)


def decode(
    model: Model,
    tokenizer: Tokenizer,
    settings: TextSettings,
    prompts: Sequence[Sequence[int]],
    how: Sequence[TextRequest],
) -> list[str]:
    """The text that follows each prompt.

    Args:
        model: of a task that makes text, in eval mode.
        tokenizer: of the model.
        settings: of the checkpoint.
        prompts: token ids, each with room after it for a token.
        how: each text is made.
    """
    found: list[str] = []
    for alike in _alike(how, 1 if read_alone(model.config.text) else len(how)):
        found += _together(
            model, tokenizer, settings, [prompts[at] for at in alike], [how[at] for at in alike]
        )
    return found


def _alike(how: Sequence[TextRequest], most: int) -> Iterator[list[int]]:
    """Numbers of neighbours whose tokens are picked alike."""
    alike: list[int] = []
    for number, each in enumerate(how):
        if alike and (len(alike) == most or each.draw != how[alike[0]].draw):
            yield alike
            alike = []
        alike.append(number)
    if alike:
        yield alike


def _together(
    model: Model,
    tokenizer: Tokenizer,
    settings: TextSettings,
    prompts: Sequence[Sequence[int]],
    how: Sequence[TextRequest],
) -> list[str]:
    answers = isinstance(model, Seq2SeqLM)
    task = ANSWERS if answers else CONTINUES
    config = model.config.text
    texts = [
        Text(tokenizer, () if answers else ids, each.until)
        for ids, each in zip(prompts, how, strict=True)
    ]
    steps = decoding(
        model,
        prompts,
        max_new_tokens=[
            min(each.max_new_tokens, room_after(task, ids, config))
            for ids, each in zip(prompts, how, strict=True)
        ],
        settings=replace(settings, draw=how[0].draw),
        seeds=[each.seed for each in how],
    )
    for tokens in steps:
        for number, token in enumerate(tokens):
            if token is not None:
                texts[number].push(token)
                if texts[number].stopped:
                    steps.end(number)
    return [
        _cut(tokenizer.decode(text.ids), each.until) for text, each in zip(texts, how, strict=True)
    ]


def _cut(text: str, until: Sequence[str]) -> str:
    """A text up to the first of some others."""
    return min((text.split(end)[0] for end in until if end), key=len, default=text)
