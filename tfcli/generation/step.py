"""One decoding step, as it is or compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from tfcli.models.cache import Cache
from tfcli.models.model import Model

Step = Callable[[torch.Tensor], torch.Tensor]


def plain_step(model: Model, cache: Cache, media: Mapping[str, torch.Tensor] | None = None) -> Step:
    """From new ids [b, s] to the logits after the last of them, [b, vocab]; the cache grows.

    `media` goes along with the ids, by the names that the model takes it under.
    """
    more = dict(media or {})

    def step(ids: torch.Tensor) -> torch.Tensor:
        logits = model(input_ids=ids, cache=cache, logits_to_keep=1, **more).logits
        assert logits is not None
        return logits[:, -1]

    return step


def compiled_step(
    model: Model,
    cache: Cache,
    *,
    backend: str | Callable[..., object] = "inductor",
    fullgraph: bool = True,
) -> Step:
    """The same for one new id a row, [b, 1], in a graph that serves every position.

    The cache must be a static one that has read the prompt: its buffers are part of the graph. A
    new batch or another cache is another graph.

    Args:
        model: in eval mode.
        cache: of kind `static`, not empty.
        backend: torch.compile's.
        fullgraph: refuse a model with a layer that cannot be part of the graph; otherwise the
            graph ends before it, and another one begins after it.

    Raises:
        torch._dynamo.exc.Unsupported: at the first step, with `fullgraph`.
    """
    assert cache.capacity is not None, "only a cache of fixed shape serves every position"
    return torch.compile(
        plain_step(model, cache), fullgraph=fullgraph, dynamic=False, backend=backend
    )
