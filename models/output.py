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
        last_hidden_state (Tensor): [b, s, d], the states after the final norm, of a tower.
        pooler_output (Tensor): [b, d], one state for each image or text, of a tower.
        feature_maps (tuple[Tensor, ...]): [b, d, h, w] each, of the layers in `out_features`.
        cls_logits (Tensor): [b, labels], of the token for the labels, where another has a teacher.
        distillation_logits (Tensor): [b, labels], of the token that learned from a teacher.
        reconstruction (Tensor): [b, c, h, w], an image whose hidden patches are filled in.
        image_embeds (Tensor): [images, d], in the space that two towers share, of length 1.
        text_embeds (Tensor): [texts, d], the same.
        logits_per_image (Tensor): [images, texts], how well each image fits each text.
        logits_per_text (Tensor): [texts, images], the same the other way round.
        image_hidden_states (Tensor): [n, d], the features put among the tokens.
        video_hidden_states (Tensor): the same of videos.
        audio_hidden_states (Tensor): the same of sounds.
        pred_boxes (Tensor): [b, queries, 4], centre and size of what was found, of the image's 1.
        pred_masks (Tensor): [b, queries, h, w], logits of what was found.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    cross_attentions: tuple[torch.Tensor, ...] | None = None
    encoder_last_hidden_state: torch.Tensor | None = None
    encoder_hidden_states: tuple[torch.Tensor, ...] | None = None
    encoder_attentions: tuple[torch.Tensor, ...] | None = None
    cache: Cache | None = None
    aux_loss: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    feature_maps: tuple[torch.Tensor, ...] | None = None
    cls_logits: torch.Tensor | None = None
    distillation_logits: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    logits_per_image: torch.Tensor | None = None
    logits_per_text: torch.Tensor | None = None
    image_hidden_states: torch.Tensor | None = None
    video_hidden_states: torch.Tensor | None = None
    audio_hidden_states: torch.Tensor | None = None
    pred_boxes: torch.Tensor | None = None
    pred_masks: torch.Tensor | None = None

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
