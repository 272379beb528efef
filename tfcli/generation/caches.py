"""The cache that a text is made with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from tfcli.errors import UsageError, WorkError
from tfcli.models.cache import Cache
from tfcli.models.model import Model
from tfcli.units import format_bytes

CACHES: dict[str, tuple[str, dict[str, Any]]] = {
    "dynamic": ("dynamic", {}),
    "static": ("static", {}),
    "quantized8": ("quantized", {"bits": 8}),
    "quantized4": ("quantized", {"bits": 4}),
    "offloaded": ("offloaded", {}),
    "paged": ("paged", {}),
}
"""What a user names -> the kind and the settings of `Model.make_cache`."""
_IMPLEMENTATIONS = {
    **{name: name for name in ("dynamic", "static", "offloaded")},
    "offloaded_static": "offloaded",
    # Old names of caches whose layers keep a window, as every kind does here.
    **dict.fromkeys(("sliding_window", "hybrid", "hybrid_chunked"), "dynamic"),
    **dict.fromkeys(("offloaded_hybrid", "offloaded_hybrid_chunked"), "offloaded"),
}
"""generation_config.json's cache_implementation -> one of `CACHES`, `quantized` apart."""
_BITS = 4
"""Of a quantized cache whose cache_config says nothing, as in transformers."""


def chosen_cache(asked: str | None, generation_config: Mapping[str, Any]) -> str:
    """Which of `CACHES` a text is made with.

    Args:
        asked: by the user; None: what the file says, and otherwise one that grows.
        generation_config: the content of generation_config.json.

    Raises:
        WorkError: the file names no cache.
    """
    if asked is not None:
        return asked
    named = generation_config.get("cache_implementation")
    if named is None:
        return "dynamic"
    bits: object = None
    if named == "quantized":
        said = generation_config.get("cache_config") or {}
        bits = said.get("nbits", _BITS) if isinstance(said, Mapping) else said
        named = f"quantized{bits}"
    known = {**_IMPLEMENTATIONS, **{name: name for name in CACHES if name.startswith("quantized")}}
    found = known.get(named) if isinstance(named, str) else None
    if found is None:
        raise WorkError(
            f"cache_implementation is {named!r}, which is no kind of cache here"
            if bits is None
            else f"cache_config asks for a cache of {bits!r} bits; there are 8 and 4",
            where="generation_config.json",
            fix="--cache dynamic",
        )
    return found


def make_cache(kind: str, length: int, model: Model) -> Cache:
    """The cache for one text. Layers that see a window only are kept no longer than that.

    Args:
        kind: one of `CACHES`.
        length: positions of the text.
        model: with its weights loaded.

    Raises:
        WorkError: a static cache that the machine's memory cannot hold.
        UsageError: heads whose dimensions four bits do not pack.
    """
    if kind == "static":
        _require_room(length, model)
    config = model.config.text
    width = config.head_dim
    if kind == "quantized4" and config.cached_per_position and width % 2:
        raise UsageError(
            f"the model's heads have {width} dimensions, and in 4 bits only an even number fits",
            where="cache",
            fix="--cache quantized8",
        )
    name, settings = CACHES[kind]
    return model.make_cache(name, length, **settings)


def _require_room(length: int, model: Model) -> None:
    """Refuse to allocate more at once than there is: texts may be as long as one likes."""
    config = model.config.text
    # Of an encoder-decoder's only the text's own: the source is as long as it is.
    layers = range(min(config.cached_layers, config.num_hidden_layers))
    positions = sum(min(config.window(layer) or length, length) for layer in layers)
    needed = positions * config.cached_per_position * model.dtype.itemsize
    there = memory_of(model.device)
    if needed > there:
        raise WorkError(
            f"a static cache of {length:,} positions takes about {format_bytes(needed)}, "
            f"and there are {format_bytes(there)} of memory",
            where="max_new_tokens",
            fix="ask for fewer tokens, or --cache dynamic, which grows with the text",
        )


def memory_of(device: torch.device) -> int:
    """All the memory of a device, in bytes."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
