"""Filling blanks with GLM: part A in one pass, then each mask's content word by word until `eop`.

A later blank sees what an earlier one was filled with, as in training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from tfcli.errors import UsageError
from tfcli.flagai.blanks import BlankTokens
from tfcli.generation.sampling import Pick, greedy

if TYPE_CHECKING:
    from tfcli.flagai.glm_model import GLM
    from tfcli.tokenizers.load import Tokenizer


@torch.inference_mode()
def fill_ids(
    model: GLM,
    ids: Sequence[int],
    tokens: BlankTokens,
    *,
    max_new_tokens: int = 64,
    pick: Pick = greedy,
) -> list[list[int]]:
    """What stands in each blank of a text, from left to right.

    Args:
        model: a GLM class that scores words, in eval mode.
        ids: the text, with at least one mask in it.
        tokens: the special ids.
        max_new_tokens: of one blank, without `eop`.
        pick: from logits [1, vocab] to a token; see `generation.sampling`.

    Returns:
        for each mask the ids that fill it, without `sop` and `eop`

    Raises:
        UsageError: no mask, or a text that is too long for the model.
    """
    places = [at for at, index in enumerate(ids) if index in tokens.masks]
    config = model.core.config.text
    if not places:
        raise UsageError(
            "the text has no blank", where="text", fix="put [MASK], [sMASK] or [gMASK] into it"
        )
    if max_new_tokens < 1:
        raise UsageError("must be at least 1", where="max_new_tokens")
    if (
        len(ids) > config.max_position_embeddings
        or max_new_tokens >= config.max_position_embeddings
    ):
        raise UsageError(
            f"the text has {len(ids)} tokens and a blank up to {max_new_tokens}, "
            f"but the model has {config.max_position_embeddings} positions",
            where="text",
            fix="shorten the text, or take a smaller max_new_tokens",
        )
    cache = model.core.make_cache()
    core, device = model.core, model.core.device
    at = torch.arange(len(ids), device=device)
    core(
        torch.tensor([list(ids)], device=device),
        position_ids=torch.stack((at, torch.zeros_like(at)))[None],
        prefix_lengths=len(ids),
        cache=cache,
        logits_to_keep=1,
    )

    def step(index: int, place: int, count: int) -> torch.Tensor:
        """Feed one token of a blank and score what comes next. Returns [1, vocab]."""
        where = torch.tensor([[[place], [count]]], device=device)
        one = torch.tensor([[index]], device=device)
        return core(one, position_ids=where, cache=cache).logits[:, -1].float()

    filled = []
    for place in places:
        found: list[int] = []
        logits = step(tokens.sop, place, 1)
        for count in range(2, max_new_tokens + 2):
            index = int(pick(logits))
            if index == tokens.eop:
                break
            found.append(index)
            # The last word of a blank that is full is fed too: later blanks see it.
            if count <= max_new_tokens or place != places[-1]:
                logits = step(index, place, count)
        filled.append(found)
    return filled


def fill(
    model: GLM,
    tokenizer: Tokenizer,
    text: str,
    *,
    max_new_tokens: int = 64,
    pick: Pick = greedy,
) -> str:
    """A text with its blanks filled.

    Args:
        model: a GLM class that scores words, in eval mode.
        tokenizer: its tokenizer.
        text: with `[MASK]`, `[sMASK]` or `[gMASK]` where something is to be filled in.
        max_new_tokens: of one blank.
        pick: see `fill_ids`.

    Returns:
        the text without special tokens

    Raises:
        UsageError: see `fill_ids`.
    """
    tokens = BlankTokens.of(tokenizer)
    ids = tokenizer.encode(text)
    filled = fill_ids(model, ids, tokens, max_new_tokens=max_new_tokens, pick=pick)
    return tokenizer.decode(list(_replaced(ids, tokens, filled)))


def _replaced(
    ids: Sequence[int], tokens: BlankTokens, filled: Sequence[Sequence[int]]
) -> Iterator[int]:
    contents = iter(filled)
    for index in ids:
        if index in tokens.masks:
            yield from next(contents)
        else:
            yield index
