"""Which models make text, and how each kind does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from tfcli.errors import UsageError
from tfcli.generation.caches import make_cache
from tfcli.generation.loop import generate
from tfcli.generation.media import LOOKS
from tfcli.generation.rules import processes
from tfcli.generation.sampling import Choose
from tfcli.generation.seq2seq import check_source, generate_seq2seq
from tfcli.generation.settings import TextSettings
from tfcli.models.config import BaseConfig
from tfcli.models.configs.text import TextConfig
from tfcli.models.heads.seq2seq_lm import Seq2SeqLM
from tfcli.models.model import Model
from tfcli.models.registry import get_family

CONTINUES, ANSWERS = "causal-lm", "seq2seq-lm"
"""A text is continued; or it is read, and another one is written."""
TASKS = (CONTINUES, ANSWERS, LOOKS)
SPOKEN, LETTERS = "speech-seq2seq", "ctc"
"""What is said in a recording is written token by token; or a letter is predicted each moment."""


def text_task(config: BaseConfig) -> str:
    """The head that a model makes text with.

    Raises:
        UsageError: its family has none, or the config takes from it what texts are made with.
    """
    heads = get_family(config.model_type).heads
    bidirectional = config.has_text and config.text.bidirectional
    for task in TASKS:
        if task in heads and not bidirectional:
            return task
    if SPOKEN in heads or LETTERS in heads:
        raise UsageError(
            f"{config.model_type} writes down recordings, and reads no text",
            where="model",
            fix="give it one with --audio FILE, and no prompt",
        )
    can = ", ".join(task for task in heads if task != CONTINUES)
    reason = " with tokens that see those after them" if bidirectional else ""
    raise UsageError(
        f"{config.model_type}{reason} cannot generate text",
        where="model",
        fix=f"what it can do: {can}",
    )


def speech_task(config: BaseConfig) -> str:
    """The head that a model writes down recordings with.

    Raises:
        UsageError: its family has none.
    """
    heads = get_family(config.model_type).heads
    for task in (SPOKEN, LETTERS):
        if task in heads:
            return task
    raise UsageError(
        f"{config.model_type} cannot hear",
        where="audio",
        fix="name a model of speech, such as whisper or wav2vec2",
    )


def room_after(task: str, prompt: Sequence[int], config: TextConfig) -> int:
    """How many new tokens the model has positions for, at least one.

    Args:
        task: how the model makes text.
        prompt: what it reads.
        config: of the model.

    Raises:
        UsageError: a prompt that is empty, or that leaves no room; says what fits.
    """
    if task == ANSWERS:
        check_source(prompt, config)
        return config.max_position_embeddings
    if not prompt:
        raise UsageError(
            "the prompt has no tokens, and the model has no BOS to begin with",
            where="prompt",
            fix="give a text to continue",
        )
    limit = config.longest_text
    if len(prompt) >= limit:
        raise UsageError(
            f"the prompt has {len(prompt):,} tokens, which leaves no room for new ones in the "
            f"model's {limit:,} positions",
            where="prompt",
            fix="shorten the prompt",
        )
    return limit - len(prompt)


def new_tokens(
    model: Model,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    choose: Choose,
    settings: TextSettings,
    cache: str,
    media: Mapping[str, Tensor] | None = None,
) -> Iterator[int]:
    """Yield the tokens of the text that a model makes of a prompt.

    Args:
        model: with the head of `text_task`, in eval mode.
        prompt: token ids; for an encoder-decoder the text that the encoder reads.
        max_new_tokens: at most so many.
        choose: from logits [vocab] to a token.
        settings: of the checkpoint.
        cache: one of `caches.CACHES`.
        media: what goes along with the prompt, by name.
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
        media=media,
        # On a CPU, compiling takes longer than most texts.
        compile_with="inductor" if cache == "static" and model.device.type == "cuda" else None,
    )
