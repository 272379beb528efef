"""Texts that a task asks a model for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfcli.generation.ending import Ending
from tfcli.generation.sampling import Choose, greedy, sampler
from tfcli.generation.settings import TextSettings
from tfcli.generation.tasks import ANSWERS, CONTINUES, new_tokens, room_after
from tfcli.models.heads.seq2seq_lm import Seq2SeqLM
from tfcli.models.model import Model
from tfcli.tokenizers.load import Tokenizer
from tfcli.tokenizers.stream import StreamDecoder


@dataclass(frozen=True)
class Decoding:
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


def decode(
    model: Model,
    tokenizer: Tokenizer,
    settings: TextSettings,
    prompts: Sequence[Sequence[int]],
    how: Sequence[Decoding],
) -> list[str]:
    """The text that follows each prompt.

    Args:
        model: of a task that makes text, in eval mode.
        tokenizer: of the model.
        settings: of the checkpoint.
        prompts: token ids, each with room after it for a token.
        how: each text is made.
    """
    return [
        _one(model, tokenizer, settings, ids, each) for ids, each in zip(prompts, how, strict=True)
    ]


def _one(
    model: Model,
    tokenizer: Tokenizer,
    settings: TextSettings,
    prompt: Sequence[int],
    how: Decoding,
) -> str:
    answers = isinstance(model, Seq2SeqLM)
    room = room_after(ANSWERS if answers else CONTINUES, prompt, model.config.text)
    choose: Choose = greedy
    if how.temperature > 0:
        choose = sampler(
            temperature=how.temperature,
            top_k=how.top_k,
            top_p=how.top_p,
            min_p=None,
            seed=how.seed,
        )
    decoder = StreamDecoder(tokenizer, () if answers else prompt)
    ending = Ending(how.until)
    tokens: list[int] = []
    for token in new_tokens(
        model,
        prompt,
        max_new_tokens=min(how.max_new_tokens, room),
        choose=choose,
        settings=settings,
        cache="dynamic",
    ):
        tokens.append(token)
        ending.push(decoder.push(token))
        if ending.ended:
            break
    text = tokenizer.decode(tokens)
    return min((text.split(end)[0] for end in how.until if end), key=len, default=text)
