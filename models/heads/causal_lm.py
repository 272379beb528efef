"""Language modelling from left to right: logits for the next token."""

from __future__ import annotations

import torch

from tfcli.models.cache import Cache
from tfcli.models.config import ModelConfig
from tfcli.models.errors import ModelError
from tfcli.models.heads.words import answer_words
from tfcli.models.layers.linear import linear
from tfcli.models.losses import last_positions, next_labels, with_aux_loss
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput


class CausalLM(Model):
    """A backbone and `lm_head`."""

    task = "causal-lm"

    def add_head(self, config: ModelConfig) -> None:
        width = self.body.get_parameter(f"{self.body_class.tokens}.weight").shape[1]
        self.lm_head = linear(width, config.vocab_size, bias=self.body.head_bias(config))

    @classmethod
    def ties(cls) -> dict[str, str]:
        return {"lm_head.weight": f"{cls.base()}.{cls.body_class.tokens}.weight"}

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        targets: torch.Tensor | None = None,
        num_target_tokens: int | torch.Tensor | None = None,
        logits_to_keep: int = 0,
        return_logits: bool = True,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        **inputs: torch.Tensor,
    ) -> ModelOutput:
        """Predict the next token at each position.

        Args:
            input_ids (Tensor): [b, s]
            attention_mask (Tensor): [b, cached + s], 1 for a token, 0 for padding on either side.
            position_ids (Tensor): [b or 1, s]; by default counted from each row's first token.
            segment_ids (Tensor): [b, s], for several texts packed into a row; see `Sight`.
            cache: earlier keys and values; the new ones are added to it.
            inputs_embeds (Tensor): [b, s, d], in place of input_ids, before positions are added.
            labels (Tensor): [b, s], the input itself with -100 where nothing is to be learned.
            targets (Tensor): [b, s], in place of labels: what each position predicts, -100 for
                nothing. They are not shifted, and `aux_loss` is not added to their loss.
            num_target_tokens: divides the summed loss; see `losses.token_loss`.
            logits_to_keep: give logits of this many last positions only; 0 gives all.
            return_logits: without, the output has `last_hidden_state` in their place, for
                `logits_of`, and the loss is computed without having all logits in memory.
            output_hidden_states: return them.
            output_attentions: return attention weights, which forgoes the fused backends.
            inputs: what else the family's backbone takes, see `Backbone.inputs`.

        Returns:
            logits [b, s, vocab], or None without `return_logits`, and what was asked for

        Raises:
            ModelError: inputs that do not fit together, or are longer than the positions that the
                family has.
        """
        x, output = self.run(
            input_ids,
            inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            segment_ids=segment_ids,
            cache=cache,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            inputs=inputs,
        )
        added = None
        if labels is not None:
            if targets is not None:
                raise ModelError("give labels or targets, not both")
            targets, added = next_labels(labels, segment_ids), output.aux_loss
        x = last_positions(x, logits_to_keep, targets)
        answer_words(self, output, x, targets, num_target_tokens, return_logits=return_logits)
        if output.loss is not None and targets is not None:
            output.loss = with_aux_loss(output.loss, added, targets, num_target_tokens)
        return output

    def logits_of(self, states: torch.Tensor) -> torch.Tensor:
        return self.body.adjust_logits(self.lm_head(states))
