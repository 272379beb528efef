"""What heads without a cache share: the inputs that they hand to the backbone."""

from __future__ import annotations

from typing import Any

import torch

from tfcli.models.chunked_loss import chunked_token_loss
from tfcli.models.losses import token_loss
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput


class PlainHead(Model):
    """A head that is computed from the states, with a loss of its own."""

    def answer(self, x: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        """The logits.

        Args:
            x (Tensor): [b, s, d]
            inputs: every keyword that `forward` was given.
        """
        raise TypeError(f"{type(self).__name__} defines no answer")

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, **more: Any) -> torch.Tensor:
        """The loss of the task; [] ."""
        return token_loss(logits, labels, **more)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_target_tokens: int | torch.Tensor | None = None,
        return_logits: bool = True,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        **inputs: torch.Tensor,
    ) -> ModelOutput:
        """Answer the task's question.

        Args:
            input_ids (Tensor): [b, s]
            attention_mask (Tensor): [b, s], 1 for a token, 0 for padding on either side.
            position_ids (Tensor): [b or 1, s]; by default counted from each row's first token.
            segment_ids (Tensor): [b, s], for several texts packed into a row; see `Sight`.
            inputs_embeds (Tensor): [b, s, d], in place of input_ids, before positions are added.
            labels (Tensor): what the task's loss takes.
            num_target_tokens: divides the summed loss, where targets are tokens; see
                `losses.token_loss`.
            return_logits: without, the output has `last_hidden_state` in their place. A head that
                predicts words makes them a few at a time, by `logits_of`, also for its loss.
            output_hidden_states: return them.
            output_attentions: return attention weights, which forgoes the fused backends.
            inputs: what else the family's backbone takes, see `Backbone.inputs`.

        Returns:
            the logits of the task, the loss if labels were given, and what was asked for

        Raises:
            ModelError: inputs that do not fit together, or are too long.
        """
        x, output = self.run(
            input_ids,
            inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            segment_ids=segment_ids,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            inputs=inputs,
        )
        more = {} if num_target_tokens is None else {"num_target_tokens": num_target_tokens}
        if not return_logits:
            output.last_hidden_state = x
            if labels is not None:
                output.loss = chunked_token_loss(self.logits_of, x, labels, **more)
            return output
        given = {"input_ids": input_ids, "attention_mask": attention_mask}
        output.logits = self.answer(x, {**given, "segment_ids": segment_ids, **inputs})
        if labels is not None:
            output.loss = self.loss(output.logits, labels, **more)
        return output
