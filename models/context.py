"""What the blocks of one forward pass share: positions, masks, cache, and what to record."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from tfcli.models.cache import Cache
from tfcli.models.caches.masks import fixed_positions, placed_mask, widened
from tfcli.models.caches.stores import Store
from tfcli.models.errors import ModelError
from tfcli.models.layers.masks import AttentionMask, Sight, has_padding, position_ids_of
from tfcli.models.layers.rotary import Rotary, Rotation

T = TypeVar("T")


@dataclass(eq=False)
class Memory:
    """An encoder's states, for a decoder that looks at them.

    Args:
        states (Tensor): [b, k, d]; None when a cache holds their keys and values already.
        mask: which of them the decoder may see.
    """

    states: torch.Tensor | None
    mask: AttentionMask


@dataclass(eq=False)
class Context:
    """Handed to every block beside its input.

    Args:
        positions (Tensor): [b or 1, s], the positions of the new tokens; [b or 1, k, s] where the
            family has k positions a token (GLM's blanks, the time, height and width of M-RoPE).
        sight: makes the masks that layers ask for.
        cache: earlier keys and values; layers add theirs.
        checkpointing: blocks are computed again in the backward pass.
        hidden_states: where each block's input and the final state are appended, or None.
        attentions: where each layer appends its attention weights, or None.
        memory: the encoder's states, in a decoder with cross-attention.
        cross_attentions: where cross-attention appends its weights, or None.
        router_logits: where each mixture of experts appends its router's scores, or None.
        aux_loss (Tensor): what the backbone adds to the loss of its task, [], or None.
        placed: the caller gave the positions, which may be any numbers.
        inputs: what the backbone was given beside these, by name, such as `token_type_ids`.
    """

    positions: torch.Tensor
    sight: Sight
    cache: Cache | None = None
    checkpointing: bool = False
    hidden_states: list[torch.Tensor] | None = None
    attentions: list[torch.Tensor] | None = None
    memory: Memory | None = None
    cross_attentions: list[torch.Tensor] | None = None
    router_logits: list[torch.Tensor] | None = None
    aux_loss: torch.Tensor | None = None
    placed: bool = False
    inputs: Mapping[str, Any] = field(default_factory=dict)
    _made: dict[Hashable, Any] = field(default_factory=dict)
    _seen: set[object] = field(default_factory=set)

    def rotation(self, rotary: Rotary, dtype: torch.dtype) -> Rotation:
        """Cosines and sines of the positions, computed once for all layers that share `rotary`."""
        return self.once((rotary, dtype), lambda: rotary(self.positions, dtype))

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made for the layer that asks first and shared by all with its key.

        Args:
            key: begins with the object that makes it, so that no two makers have the same.
            make: called at most once a key.
        """
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def join(self, groups: torch.Tensor, batch: int, *, in_window: bool = False) -> None:
        """Let new tokens see each other whatever their order, as those of an image do.

        Call it before any layer asks for a mask.

        Args:
            groups (Tensor): int64 [b or 1, s]; tokens of one number of 0 and more see each other,
                -1 is for those of no group.
            batch: b of the input.
            in_window: they do not see past a layer's window.

        Raises:
            ModelError: the groups have another shape.
        """
        expected = (batch, self.sight.queries)
        if groups.shape not in (expected, (1, expected[1])):
            raise ModelError(
                f"the groups of tokens have shape {tuple(groups.shape)}, expected {expected}"
            )
        self.sight.groups, self.sight.groups_in_window = groups, in_window

    def causal(
        self, layer: int, *, window: int | None = None, chunk: int | None = None
    ) -> AttentionMask:
        """The mask of a decoder layer; see `Sight.causal`."""
        store = self.store(layer)
        if store is None:
            return self.sight.causal(window=window, chunk=chunk)
        places = store.places(self.past, self.sight.queries)
        if places is None:
            return self.sight.causal(store.kept, window=window, chunk=chunk)
        return self.once(
            (placed_mask, store.form, places.shape[0], window, chunk),
            lambda: placed_mask(
                self.places,
                places,
                window=window,
                chunk=chunk,
                always=store.always,
                padding=self.sight.padding,
                groups=self.sight.groups if self.sight.queries > 1 else None,
                groups_in_window=self.sight.groups_in_window,
            ),
        )

    def store(self, layer: int, slot: str = "attention") -> Store | None:
        """A layer's store; None without a cache."""
        return None if self.cache is None else self.cache.store(layer, slot)

    @property
    def past(self) -> int | torch.Tensor:
        """Earlier positions; a tensor [] in a cache of fixed shape."""
        return 0 if self.cache is None else self.cache.past

    @property
    def places(self) -> torch.Tensor:
        """Where in the rows the new tokens stand, padding counted: int64 [s]."""
        return self.past + torch.arange(self.sight.queries, device=self.sight.device)

    @property
    def padding(self) -> torch.Tensor | None:
        """Which of the new tokens are no padding, [b, s] of 0/1; None where nothing is padded."""
        whole = self.sight.padding
        return None if whole is None else whole.index_select(1, self.places)

    def key_places(self, layer: int) -> torch.Tensor:
        """The same of the keys that a layer sees, before it has remembered the new ones: [k]."""
        store, queries = self.store(layer), self.sight.queries
        found = None if store is None else store.places(self.past, queries)
        if found is not None:
            return found
        assert not isinstance(self.past, torch.Tensor)
        kept = 0 if store is None else store.kept
        return torch.arange(self.past - kept, self.past + queries, device=self.sight.device)

    def full(self, *, radius: int | None = None) -> AttentionMask:
        """The mask of an encoder layer; see `Sight.full`."""
        return self.sight.full(radius=radius)

    def remember(self, layer: int, *new: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Add new keys and values to the cache and return all that the layer needs; see `Store`.

        Ask for the layer's mask first: it depends on what the cache held before.
        """
        store = self.store(layer)
        return new if store is None else store.update(*new)

    def first_time(self, module: object) -> bool:
        """Whether a module asks for the first time: a block that is computed again asks again."""
        first = module not in self._seen
        self._seen.add(module)
        return first

    def finished(self, x: torch.Tensor) -> torch.Tensor:
        """Record the final state and return it."""
        if self.hidden_states is not None:
            self.hidden_states.append(x)
        return x


def begin(
    x: torch.Tensor,
    *,
    inputs: Mapping[str, Any] | None = None,
    attention_mask: torch.Tensor | None = None,
    position_ids: torch.Tensor | None = None,
    segment_ids: torch.Tensor | None = None,
    cache: Cache | None = None,
    checkpointing: bool = False,
    output_hidden_states: bool = False,
    output_attentions: bool = False,
) -> Context:
    """The context of one forward pass.

    Args:
        x (Tensor): [b, s, d], the embeddings; only the shape is read.
        inputs: what the backbone was given beside these, by name.
        attention_mask (Tensor): [b, cached + s], 1 for a token, 0 for padding on either side.
        position_ids (Tensor): [b or 1, s]; by default counted from each row's first token.
        segment_ids (Tensor): [b, s], the number of the text that a token belongs to, where rows
            are several texts packed together. Texts do not see each other.
        cache: earlier keys and values.
        checkpointing: whether blocks are computed again in the backward pass, if there is one.
        output_hidden_states: record them.
        output_attentions: record attention weights.

    Raises:
        ModelError: shapes that do not fit together, or segments with a cache.
    """
    if x.ndim != 3 or 0 in x.shape[:2]:
        raise ModelError(
            f"the input has shape {tuple(x.shape[:-1])}, expected rows of at least one token"
        )
    batch, length = x.shape[:2]
    past = 0 if cache is None else cache.past
    if cache is not None and cache.virtual:  # callers know nothing of what is before the text
        if attention_mask is not None:
            attention_mask = torch.nn.functional.pad(attention_mask, (cache.virtual, 0), value=1)
        if position_ids is not None:
            position_ids = position_ids + cache.virtual
    if segment_ids is not None:
        if cache is not None:
            raise ModelError("segment_ids and a cache do not go together", fix="leave one out")
        if segment_ids.shape != (batch, length):
            raise ModelError(
                f"segment_ids has shape {tuple(segment_ids.shape)}, expected {(batch, length)}"
            )
    placed = position_ids is not None
    if isinstance(past, torch.Tensor):
        assert cache is not None and cache.capacity is not None
        padding = widened(attention_mask, batch, cache.capacity)
        seen = 0  # only the device knows; masks follow from `Store.places`
        if position_ids is None:
            position_ids = fixed_positions(past, length, padding)
    else:
        padding = attention_mask if has_padding(attention_mask, batch, past + length) else None
        seen = past
    if position_ids is None:
        position_ids = position_ids_of(length, seen, x.device, padding, segment_ids)
    elif position_ids.shape[-1] != length or position_ids.shape[0] not in (1, batch):
        raise ModelError(
            f"position_ids has shape {tuple(position_ids.shape)}, expected {(batch, length)}"
        )
    return Context(
        positions=position_ids,
        sight=Sight(length, seen, x.device, padding, segment_ids),
        cache=cache,
        # A block that is computed again would add its keys and values to the cache again.
        checkpointing=checkpointing and torch.is_grad_enabled() and cache is None,
        hidden_states=[] if output_hidden_states else None,
        attentions=[] if output_attentions else None,
        placed=placed,
        inputs=inputs or {},
    )
