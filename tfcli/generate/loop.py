"""The decoding loop of causal models: the prompt in one pass, then a token at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch

from tfcli.generate.sampling import Choose, greedy
from tfcli.models.cache import Cache, StaticCache
from tfcli.models.model import Model


@torch.inference_mode()
def generate(
    model: Model,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    choose: Choose = greedy,
    stop: Collection[int] = (),
    cache: Cache | None = None,
) -> Iterator[int]:
    """Yield new tokens one by one.

    Args:
        model: a causal language model in eval mode.
        prompt: token ids, at least one.
        max_new_tokens: at most so many; together with the prompt no more than the model's
            positions.
        choose: from logits [vocab] to a token.
        stop: after one of these ids, which is yielded too, nothing more comes.
        cache: an empty one; None makes a `StaticCache` of the right length.
    """
    if cache is None:
        # The last token is chosen and never fed back, so it needs no place.
        cache = StaticCache(len(prompt) + max_new_tokens - 1, model.config)
    ids = torch.tensor([list(prompt)], device=model.device)
    for _ in range(max_new_tokens):
        token = choose(model(input_ids=ids, cache=cache, logits_to_keep=1).logits[0, -1])
        yield token
        if token in stop:
            return
        ids = torch.tensor([[token]], device=model.device)
