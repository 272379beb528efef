"""A model made ready to read prompts and to go on from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from tfcli.errors import UsageError
from tfcli.generation.caches import make_cache
from tfcli.generation.readers import Reader, TargetReader, TextReader
from tfcli.generation.settings import TextSettings
from tfcli.models.heads.seq2seq_lm import Seq2SeqLM
from tfcli.models.model import Model


def make_reader(
    model: Model,
    prompts: Sequence[Sequence[int]],
    most: int,
    settings: TextSettings,
    cache: str,
    media: Mapping[str, Tensor] | None = None,
    copies: int = 1,
) -> Reader:
    """What reads prompts and up to `most` new tokens of each.

    Args:
        model, prompts, settings, cache, media: see `tasks.decoding`.
        most: new tokens.
        copies: so many prompts beside each other are one.
    """
    if isinstance(model, Seq2SeqLM):
        # The decoder begins with one token of its own; the last one is picked and never read.
        kept = make_cache(cache, most, model)
        return TargetReader.of_sources(
            model, prompts, start=settings.start, cache=kept, copies=copies
        )
    kept = make_cache(cache, max(map(len, prompts)) + most - 1, model)
    # On a CPU, compiling takes longer than most texts.
    compiled = "inductor" if cache == "static" and model.device.type == "cuda" else None
    return TextReader(model, prompts, cache=kept, media=media, compile_with=compiled, copies=copies)


def require_room(model: Model, length: int, most: int) -> None:
    """Refuse a negative prompt after which there is no room for the new tokens.

    Args:
        model: that reads it.
        length: its tokens.
        most: new ones.

    Raises:
        UsageError: says what there is room for.
    """
    config = model.config.text
    limit = config.max_position_embeddings if isinstance(model, Seq2SeqLM) else config.longest_text
    needed = length if isinstance(model, Seq2SeqLM) else length + most
    if needed > limit:
        raise UsageError(
            f"the negative prompt has {length:,} tokens, which leaves no room for {most:,} new "
            f"ones in the model's {limit:,} positions",
            where="negative_prompt",
            fix="shorten it, or ask for fewer tokens",
        )
