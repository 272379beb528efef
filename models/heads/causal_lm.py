"""Language modelling from left to right: logits for the next token."""

from __future__ import annotations

import torch

from tfcli.models.cache import Cache
from tfcli.models.config import ModelConfig
from tfcli.models.layers.linear import linear
from tfcli.models.losses import causal_lm_loss, last_positions
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
        num_target_tokens: int | torch.Tensor | None = None,
        logits_to_keep: int = 0,
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
            num_target_tokens: divides the summed loss; see `losses.token_loss`.
            logits_to_keep: give logits of this many last positions only; 0 gives all.
            output_hidden_states: return them.
            output_attentions: return attention weights, which forgoes the fused backends.
            inputs: what else the family's backbone takes, see `Backbone.inputs`.

        Returns:
            logits [b, s, vocab], and what was asked for

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
        x = last_positions(x, logits_to_keep, labels)
        output.logits = self.body.adjust_logits(self.lm_head(x))
        if labels is not None:
            output.loss = causal_lm_loss(
                output.logits, labels, num_target_tokens, segment_ids, output.aux_loss
            )
        return output
