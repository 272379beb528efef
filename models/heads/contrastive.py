"""Which image fits which text: two towers, and the products of their vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tfcli.models.backbone import Backbone
from tfcli.models.errors import ModelError
from tfcli.models.model import Model, recorded
from tfcli.models.multimodal.dual_encoder import DualEncoder
from tfcli.models.output import ModelOutput

_OF_TEXT = ("input_ids", "inputs_embeds", "attention_mask", "position_ids")


class Contrastive(Model):
    """A dual encoder. Without images the output has `text_embeds` alone, and the reverse.

    `forward` takes the inputs of both towers and, as in transformers:
        return_loss: give the family's contrastive loss, in which image i belongs to text i and
            all others are wrong. So there are no `labels`.

    Embeddings have length 1; `get_image_features` and `get_text_features` give them as they are.
    """

    task = "contrastive"
    headless = True

    @property
    def body(self) -> DualEncoder[Any]:
        body: DualEncoder[Any] = getattr(self, self.base())
        return body

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *,
        labels: torch.Tensor | None = None,
        num_target_tokens: int | torch.Tensor | None = None,
        return_loss: bool | None = None,
        **inputs: Any,
    ) -> ModelOutput:
        """Compare images with texts.

        Args:
            input_ids (Tensor): [texts, s]
            attention_mask (Tensor): [texts, s], of the texts.
            labels: refused, see the class.
            num_target_tokens: refused: the targets are no tokens.
            return_loss: whether the output has the loss.
            inputs: further inputs of either tower, such as `pixel_values` [images, c, h, w].

        Raises:
            ModelError: neither images nor texts; or unlike numbers of them, where the loss is
                asked for.
            TypeError: a name that neither tower takes.
        """
        if labels is not None or num_target_tokens is not None:
            raise ModelError(
                "a contrastive model takes no labels: image i belongs to text i",
                fix="ask for return_loss=True",
            )
        given = {"input_ids": input_ids, "attention_mask": attention_mask, **inputs}
        texts = {name: value for name, value in given.items() if name in _OF_TEXT}
        images = {name: value for name, value in given.items() if name not in _OF_TEXT}
        output = ModelOutput()
        if has_any(images):
            output.image_embeds = unit(self.get_image_features(**images).pooler_output)
        if has_any(texts):
            output.text_embeds = unit(self.get_text_features(**texts).pooler_output)
        image, text = output.image_embeds, output.text_embeds
        if image is None and text is None:
            raise ModelError("give pixel_values, input_ids, or both")
        if image is not None and text is not None:
            output.logits_per_text = self.body.compared(text, image)
            output.logits_per_image = output.logits_per_text.t()
        if return_loss:
            output.loss = self.body.pair_loss(_pairs(image, text, output.logits_per_text))
        return output

    def get_image_features(self, **inputs: Any) -> ModelOutput:
        """The image tower alone.

        Args:
            inputs: of the tower, `output_hidden_states` and `output_attentions`.

        Returns:
            `last_hidden_state` [images, s, d] and `pooler_output` [images, width], the vectors
            that are compared before they are scaled to length 1; and what was asked for
        """
        output, pooled = self._of_tower(self.body.vision_model, inputs)
        output.pooler_output = self.body.projected_image(pooled)
        return output

    def get_text_features(self, **inputs: Any) -> ModelOutput:
        """The same of the tower for texts."""
        output, pooled = self._of_tower(self.body.text_model, inputs)
        output.pooler_output = self.body.projected_text(pooled)
        return output

    def _of_tower(
        self, tower: Backbone[Any], inputs: Mapping[str, Any]
    ) -> tuple[ModelOutput, torch.Tensor]:
        """What a tower gives, and its pooled states [b, d]."""
        options = {name: value for name, value in inputs.items() if name in self.takes}
        others = {name: value for name, value in inputs.items() if name not in self.takes}
        x, context = tower.begin(others, checkpointing=self.checkpointing, **options)
        x = tower(x, context)
        output = recorded(context)
        pooled = tower.pooler_output(x, inputs)
        if pooled is None:
            kind = tower.config.model_type
            raise ModelError(f"this {kind} has no pooling head, so it gives nothing to compare")
        output.last_hidden_state, output.pooler_output = x, pooled
        return output, pooled


def has_any(inputs: Mapping[str, Any]) -> bool:
    """Whether one of the inputs is given."""
    return any(value is not None for value in inputs.values())


def unit(x: torch.Tensor | None) -> torch.Tensor:
    """Vectors scaled to length 1. x (Tensor): [n, d] -> same"""
    assert x is not None
    return x / x.norm(p=2, dim=-1, keepdim=True)


def _pairs(
    image: torch.Tensor | None, text: torch.Tensor | None, logits: torch.Tensor | None
) -> torch.Tensor:
    """The logits [n, n], if there are as many images as texts."""
    images, texts = (0 if each is None else len(each) for each in (image, text))
    if logits is None or images != texts:
        raise ModelError(
            f"the contrastive loss needs a text for each image, but there are {images} images "
            f"and {texts} texts",
        )
    return logits
