"""Virtual tokens: positions before every text whose content is trained, and of which nobody who
calls the model knows.

- Prefix tuning (Li & Liang 2021) trains the keys and values of each layer there.
- Prompt tuning (Lester et al. 2021) trains the embeddings, which run through the model; p-tuning
  a network that makes them, see `prompt_encoder`.

All come to the same: a cache that holds these positions before the text is read.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tfcli.models.adapters.change import Kept
from tfcli.models.cache import Cache
from tfcli.models.caches.layers import CachingLayer, KeyValueLayer
from tfcli.models.caches.sinks import SinkStore
from tfcli.models.errors import ModelError
from tfcli.models.sharding import fill, whole

if TYPE_CHECKING:
    from tfcli.models.model import Model

_DEVIATION = 0.02


class VirtualTokens(nn.Module, ABC):
    """The virtual tokens of one adapter.

    Args:
        count: how many.
        width: numbers of each.

    Attributes:
        embedding (Tensor): [count, width], as PEFT's files keep it.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.count = count
        self.embedding = nn.Parameter(torch.empty(count, width))

    def forward(self) -> Tensor:
        """What is trained, [count, width]."""
        return self.embedding

    def kept(self) -> dict[str, Kept]:
        """What a file keeps, by PEFT's name."""
        return {"prompt_embeddings": Kept.of(self.embedding)}

    @abstractmethod
    def prime(self, model: Model, cache: Cache, rows: int) -> None:
        """Let an empty cache hold the virtual tokens.

        Args:
            model: that the cache is made for.
            cache: of any kind.
            rows: texts that will be read with it.

        Raises:
            ModelError: a kind of cache that cannot.
        """

    def begin(self, model: Model, seed: int, name: str) -> None:
        """First values, which follow from the seed and the adapter's name."""
        digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
        drawing = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        self._begin(model, drawing)

    @abstractmethod
    def _begin(self, model: Model, drawing: torch.Generator) -> None: ...


class Prefix(VirtualTokens):
    """Prefix tuning: a row is the keys of the first layer, its values, those of the next one.

    Args:
        count: how many tokens.
        layers: of the model.
        heads: of keys and values.
        head_dim: width of each.
    """

    def __init__(self, count: int, layers: int, heads: int, head_dim: int) -> None:
        super().__init__(count, 2 * layers * heads * head_dim)
        self.layers, self.heads, self.head_dim = layers, heads, head_dim

    @classmethod
    def of(cls, model: Model, count: int) -> Prefix:
        """One for a model.

        Raises:
            ModelError: a layer without keys and values of its own, or models whose layers differ.
        """
        config, layers = model.config.text, _caching(model)
        sizes = {getattr(each, "head_dim", None) for each in layers}
        alike = sizes == {config.head_dim} and len(layers) == config.num_hidden_layers
        plain = config.cached_per_position == 2 * config.num_key_value_heads * config.head_dim
        if not (alike and plain and all(isinstance(each, KeyValueLayer) for each in layers)):
            raise ModelError(
                f"prefix tuning gives each layer keys and values of one size, and "
                f"{config.model_type} has layers that take no such ones",
                where="type",
                fix="type: prompt-tuning or lora",
            )
        return cls(count, len(layers), config.num_key_value_heads, config.head_dim)

    def prime(self, model: Model, cache: Cache, rows: int) -> None:
        held = self().view(self.count, 2 * self.layers, self.heads, self.head_dim)
        lanes = held.permute(1, 2, 0, 3).to(_computed_in(model))[:, None]
        lanes = lanes.expand(-1, rows, -1, -1, -1)
        for number, layer in enumerate(_caching(model)):
            store = cache.store(layer.layer, layer.slot)
            if isinstance(store, SinkStore):
                raise ModelError(
                    "a sink cache turns keys when they are read, and a prefix has turned ones",
                    fix="take a dynamic or a static cache",
                )
            store.update(lanes[2 * number], lanes[2 * number + 1])
        cache.advance(self.count)

    def _begin(self, model: Model, drawing: torch.Generator) -> None:
        fill(self.embedding, torch.randn(self.embedding.shape, generator=drawing) * _DEVIATION)


class Prompt(VirtualTokens):
    """Prompt tuning: a row is an embedding; those of tokens that are drawn, at first."""

    @classmethod
    def of(cls, model: Model, count: int) -> Prompt:
        """One for a model."""
        return cls(count, width_of(model))

    def prime(self, model: Model, cache: Cache, rows: int) -> None:
        given = self().to(_computed_in(model)).expand(rows, -1, -1)
        x, context = model.body.begin({"inputs_embeds": given}, cache=cache)
        model.body(x, context)
        cache.advance(self.count)

    def _begin(self, model: Model, drawing: torch.Generator) -> None:
        table = whole(_table(model).detach())
        ids = torch.randint(0, table.shape[0], (self.count,), generator=drawing)
        fill(self.embedding, table[ids.to(table.device)].float())


class Prompts(nn.Module):
    """The virtual tokens that are on a model, of which those of one adapter count at a time.

    Attributes:
        changes: by the names of adapters.
        active: names of the adapters that count, of all kinds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.changes = nn.ModuleDict()
        self.active: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The adapters that have virtual tokens."""
        return list(self.changes)

    @property
    def current(self) -> VirtualTokens | None:
        """Those that count."""
        for name in self.active:
            if name in self.changes:
                found = self.changes[name]
                assert isinstance(found, VirtualTokens)
                return found
        return None

    @property
    def count(self) -> int:
        """How many positions they are."""
        return 0 if self.current is None else self.current.count

    def opened(
        self, model: Model, options: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The options of a forward pass with a cache that holds the virtual tokens.

        Args:
            model: that they are on.
            options: of `context.begin`.
            inputs: of the backbone; the first dimension of each is the number of rows.

        Raises:
            ModelError: packed rows, or a cache that has read something without them.
        """
        current = self.current
        if current is None:
            return dict(options)
        if options.get("segment_ids") is not None:
            raise ModelError("virtual tokens stand before a row, and packed texts share one")
        cache = options.get("cache")
        cache = model.make_cache() if cache is None else cache
        if cache.virtual != current.count:
            if not isinstance(cache.past, Tensor) and cache.past:
                raise ModelError(
                    "the cache has read a text without the adapter's virtual tokens",
                    fix="reset it",
                )
            rows = next(each.shape[0] for each in inputs.values() if isinstance(each, Tensor))
            current.prime(model, cache, rows)
            cache.virtual = current.count
        return {**options, "cache": cache}


def require_promptable(model: Model) -> None:
    """Refuse virtual tokens for a model that does not read texts from left to right.

    Raises:
        ModelError: naming the family and the task.
    """
    if model.task != "causal-lm" or model.config.text.bidirectional or not _caching(model):
        raise ModelError(
            f"virtual tokens stand before the texts of causal language models, and this is a "
            f"{model.task} model of {model.config.model_type}",
            where="type",
            fix="type: lora",
        )


def width_of(model: Model) -> int:
    """Numbers of a token's embedding."""
    return _table(model).shape[1]


def _caching(model: Model) -> list[CachingLayer]:
    """The layers of a model that remember, by their numbers."""
    found = [each for each in model.modules() if isinstance(each, CachingLayer)]
    return sorted(found, key=lambda each: each.layer)


def _table(model: Model) -> Tensor:
    table: Any = model.body.get_submodule(model.body.tokens)  # an adapter may stand in its place
    weight: Tensor = table.weight
    return weight


def _computed_in(model: Model) -> torch.dtype:
    """The type of the keys and values that layers make."""
    kind = model.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    floats = (each for each in model.body.parameters() if each.is_floating_point())
    return next(floats).dtype
