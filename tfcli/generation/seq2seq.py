"""The decoding loop of encoder-decoders: the source once, then the target a token at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch

from tfcli.errors import UsageError
from tfcli.generation.loop import processed
from tfcli.generation.rules import Process
from tfcli.generation.sampling import Choose, greedy
from tfcli.models.cache import Cache
from tfcli.models.configs.text import TextConfig
from tfcli.models.heads.seq2seq_lm import Seq2SeqLM


@torch.inference_mode()
def generate_seq2seq(
    model: Seq2SeqLM,
    source_ids: Sequence[int],
    *,
    max_new_tokens: int,
    choose: Choose = greedy,
    stop: Collection[int] = (),
    process: Sequence[Process] = (),
    start: int | None = None,
    cache: Cache | None = None,
) -> Iterator[int]:
    """Yield the tokens of the target one by one.

    Args:
        model: a sequence-to-sequence language model in eval mode.
        source_ids: token ids, at least one.
        max_new_tokens: at most so many; no more than the model's positions.
        choose: from logits [vocab] to a token.
        stop: after one of these ids, which is yielded too, nothing more comes.
        process: what changes the logits before a token is chosen, one after another.
        start: what the decoder sees before the first token, and which is not yielded; None takes
            the config's decoder_start_token_id.
        cache: an empty one; None makes one that grows.

    Raises:
        ModelError: no start is given and the config names none.
    """
    begin = [model.body.start_id() if start is None else start]
    yield from generate_target(
        model,
        model.encode(_row(source_ids, model.device)),
        begin,
        max_new_tokens=max_new_tokens,
        choose=choose,
        stop=stop,
        process=process,
        cache=cache,
    )


@torch.inference_mode()
def generate_target(
    model: Seq2SeqLM,
    states: torch.Tensor | None,
    begin: Sequence[int],
    *,
    max_new_tokens: int,
    choose: Choose = greedy,
    stop: Collection[int] = (),
    process: Sequence[Process] = (),
    cache: Cache | None = None,
) -> Iterator[int]:
    """Yield the tokens of the target one by one, from what the encoder made of the source.

    Args:
        states (Tensor): [1, k, d], of `Seq2Seq.encode`.
        begin: what the decoder sees before the first token, and which is not yielded.

    The others are those of `generate_seq2seq`.
    """
    if cache is None:
        cache = model.make_cache()
    target, fed = list(begin), 0
    for _ in range(max_new_tokens):
        new = _row(target[fed:], model.device)
        fed = len(target)
        # Every layer keeps what it made of the states, so they are given once.
        logits = model(
            decoder_input_ids=new, encoder_states=states, cache=cache, logits_to_keep=1
        ).logits[0, -1]
        token, states = choose(processed(logits, target, process)), None
        yield token
        if token in stop:
            return
        target.append(token)


def check_source(source_ids: Sequence[int], config: TextConfig) -> None:
    """Refuse a source that is longer than the model's positions, or empty.

    Raises:
        UsageError: says what fits.
    """
    limit = config.max_position_embeddings
    if not source_ids:
        raise UsageError("the source has no tokens", where="prompt", fix="give a text")
    if len(source_ids) > limit:
        raise UsageError(
            f"the source has {len(source_ids):,} tokens, more than the model's {limit:,} positions",
            where="prompt",
            fix="shorten the text",
        )


def _row(ids: Sequence[int], device: torch.device) -> torch.Tensor:
    return torch.tensor([list(ids)], device=device)
