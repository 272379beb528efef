"""Which models make text, and how each kind does it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tfcli.errors import UsageError
from tfcli.generate.caches import make_cache
from tfcli.generate.loop import generate
from tfcli.generate.rules import processes
from tfcli.generate.sampling import Choose
from tfcli.generate.seq2seq import check_lengths, generate_seq2seq
from tfcli.generate.settings import TextSettings
from tfcli.models.config import ModelConfig
from tfcli.models.heads.seq2seq_lm import Seq2SeqLM
from tfcli.models.model import Model
from tfcli.models.registry import get_family

CONTINUES, ANSWERS = "causal-lm", "seq2seq-lm"
"""A text is continued; or it is read, and another one is written."""


def text_task(config: ModelConfig) -> str:
    """The head that a model makes text with.

    Raises:
        UsageError: its family has none, or the config takes from it what texts are made with.
    """
    heads = get_family(config.model_type).heads
    for task in (CONTINUES, ANSWERS):
        if task in heads and not config.both_ways:
            return task
    can = ", ".join(task for task in heads if task != CONTINUES)
    reason = " with tokens that see those after them" if config.both_ways else ""
    raise UsageError(
        f"{config.model_type}{reason} cannot generate text",
        where="model",
        fix=f"what it can do: {can}",
    )


def check_prompt(
    task: str, prompt: Sequence[int], max_new_tokens: int, config: ModelConfig
) -> None:
    """Refuse a prompt that is empty, or too long together with what is to come.

    Raises:
        UsageError: says what fits.
    """
    if task == ANSWERS:
        check_lengths(prompt, max_new_tokens, config)
        return
    if not prompt:
        raise UsageError(
            "the prompt has no tokens, and this tokenizer adds none",
            where="prompt",
            fix="give a text to continue",
        )
    limit = config.longest_text
    room = limit - len(prompt)
    if max_new_tokens > room:
        raise UsageError(
            f"{len(prompt):,} prompt tokens and {max_new_tokens:,} new ones are more than "
            f"the model's {limit:,} positions",
            where="max_new_tokens",
            fix=f"--max-new-tokens {room}" if room > 0 else "shorten the prompt",
        )


def new_tokens(
    model: Model,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    choose: Choose,
    settings: TextSettings,
    cache: str,
) -> Iterator[int]:
    """Yield the tokens of the text that a model makes of a prompt.

    Args:
        model: with the head of `text_task`, in eval mode.
        prompt: token ids; for an encoder-decoder the text that the encoder reads.
        max_new_tokens: at most so many.
        choose: from logits [vocab] to a token.
        settings: of the checkpoint.
        cache: one of `caches.CACHES`.
    """
    # The last token is chosen and never fed back. A decoder that reads its prompt elsewhere
    # begins with one token of its own.
    length = max_new_tokens if isinstance(model, Seq2SeqLM) else len(prompt) + max_new_tokens - 1
    kept = make_cache(cache, length, model)
    rules = processes(
        settings.rules,
        source=prompt,
        start=1 if isinstance(model, Seq2SeqLM) else len(prompt),
        max_new_tokens=max_new_tokens,
        stop=sorted(settings.stop),
    )
    if isinstance(model, Seq2SeqLM):
        return generate_seq2seq(
            model,
            prompt,
            max_new_tokens=max_new_tokens,
            choose=choose,
            stop=settings.stop,
            process=rules,
            start=settings.start,
            cache=kept,
        )
    return generate(
        model,
        prompt,
        max_new_tokens=max_new_tokens,
        choose=choose,
        stop=settings.stop,
        process=rules,
        cache=kept,
    )
