"""The decoding loop of causal models: the prompt in one pass, then a token at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import torch

from tfcli.generation.rules import Process
from tfcli.generation.sampling import Choose, greedy
from tfcli.generation.step import compiled_step, plain_step
from tfcli.models.cache import Cache
from tfcli.models.model import Model


@torch.inference_mode()
def generate(
    model: Model,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    choose: Choose = greedy,
    stop: Collection[int] = (),
    process: Sequence[Process] = (),
    cache: Cache | None = None,
    media: Mapping[str, torch.Tensor] | None = None,
    compile_with: str | None = None,
) -> Iterator[int]:
    """Yield new tokens one by one.

    Where the model turns all keys otherwise once a text is long enough (longrope), the cache is
    made again when it becomes so long.

    Args:
        model: a causal language model in eval mode.
        prompt: token ids, at least one.
        max_new_tokens: at most so many; together with the prompt no more than the model's
            positions.
        choose: from logits [vocab] to a token.
        stop: after one of these ids, which is yielded too, nothing more comes.
        process: what changes the logits before a token is chosen, one after another.
        cache: an empty one; None makes one that grows.
        media: what goes along with the prompt, by the names that the model takes it under.
        compile_with: a backend of torch.compile, for the steps after the prompt; the cache must be
            a static one. None: they run as they are.
    """
    if cache is None:
        cache = model.make_cache()
    ids, fed = list(prompt), 0
    step = plain_step(model, cache)
    read = step if not media else plain_step(model, cache, moved(media, model))
    if compile_with is not None:
        step = compiled_step(model, cache, backend=compile_with, fullgraph=False)
    switch = model.config.text.rotation_switch
    for _ in range(max_new_tokens):
        if switch is not None and fed <= switch < len(ids):
            cache.reset()
            fed = 0
        new = torch.tensor([ids[fed:]], device=model.device)
        logits = (step if fed else read)(new)[0]
        fed = len(ids)
        token = choose(processed(logits, ids, process))
        yield token
        if token in stop:
            return
        ids.append(token)


def moved(media: Mapping[str, torch.Tensor], model: Model) -> dict[str, torch.Tensor]:
    """Tensors on the model's device, and numbers with fractions in its type."""
    return {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in media.items()
    }


def processed(logits: torch.Tensor, ids: Sequence[int], process: Sequence[Process]) -> torch.Tensor:
    """logits (Tensor): [vocab] -> what the processes make of them; see `rules.Process`."""
    if process:
        logits = logits.float()
    for each in process:
        logits = each(ids, logits)
    return logits
