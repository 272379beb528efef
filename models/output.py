"""What a model's forward returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils import _pytree

from tfcli.models.cache import Cache


@dataclasses.dataclass(eq=False)
class ModelOutput(Mapping[str, Any]):
    """A dataclass that is also a mapping over its fields that are not None.

    Args:
        loss (Tensor): [], the mean over targets, when labels were given.
        logits (Tensor): [b, s, vocab] of a language model, [b, labels] of a classifier.
        last_hidden_state (Tensor): [b, s, d], what the logits are computed from, where they were
            not asked for (`return_logits=False`).
        hidden_states (tuple[Tensor, ...]): the embeddings, then each block's output, the last one
            after the final norm; each [b, s, d].
        attentions (tuple[Tensor, ...]): each block's attention weights, [b, heads, q, k].
        cross_attentions (tuple[Tensor, ...]): how each block of a decoder looks at the encoder's
            states, [b, heads, q, k]; `hidden_states` and `attentions` are then the decoder's.
        encoder_last_hidden_state (Tensor): [b, k, d], the encoder's states after its final norm.
        encoder_hidden_states (tuple[Tensor, ...]): as `hidden_states`.
        encoder_attentions (tuple[Tensor, ...]): as `attentions`.
        cache (Cache): the key/value cache that was given, now longer.
        aux_loss (Tensor): [], what the backbone adds to the loss, in families with one.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    cross_attentions: tuple[torch.Tensor, ...] | None = None
    encoder_last_hidden_state: torch.Tensor | None = None
    encoder_hidden_states: tuple[torch.Tensor, ...] | None = None
    encoder_attentions: tuple[torch.Tensor, ...] | None = None
    cache: Cache | None = None
    aux_loss: torch.Tensor | None = None

    def __post_init__(self) -> None:
        # accelerate rebuilds mappings as type(x)({...}) when it converts outputs to float32.
        if isinstance(self.loss, Mapping):
            values = dict(self.loss)
            self.loss = None
            for name, value in values.items():
                setattr(self, name, value)

    def __getitem__(self, name: str) -> Any:
        value = getattr(self, name) if name in _FIELDS else None
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name in _FIELDS if getattr(self, name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


_FIELDS = tuple(field.name for field in dataclasses.fields(ModelOutput))

# FSDP2 and torch.compile find the tensors of an output through torch's pytree registry; an
# unknown type would be one opaque leaf, and FSDP2's backward hooks would not be set.
_pytree.register_pytree_node(
    ModelOutput,
    lambda output: ([getattr(output, name) for name in _FIELDS], None),
    lambda values, _context: ModelOutput(**dict(zip(_FIELDS, values, strict=True))),
    serialized_type_name="tfcli.models.output.ModelOutput",
)
