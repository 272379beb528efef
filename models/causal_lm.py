"""What every decoder with a language-model head shares: from a base model's states to logits."""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models.cache import Cache
from tfcli.models.heads import causal_lm_loss, last_positions
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput


class CausalLM(Model):
    """A base model and `lm_head`, which a family makes in its `__init__`.

    The base model is called with the arguments of `forward` down to `inputs_embeds`, then whether
    to recompute blocks, then lists that take hidden states and attentions (or None). It returns
    [b, s, d].
    """

    task = "causal-lm"
    lm_head: nn.Module

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_target_tokens: int | torch.Tensor | None = None,
        logits_to_keep: int = 0,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> ModelOutput:
        """Predict the next token at each position.

        Args:
            input_ids (Tensor): [b, s]
            attention_mask (Tensor): [b, cached + s], 1 for a token, 0 for padding on either side.
            position_ids (Tensor): [b or 1, s]; by default counted from each row's first token.
            cache: earlier keys and values; the new ones are added to it.
            inputs_embeds (Tensor): [b, s, d], in place of input_ids, before positions are added.
            labels (Tensor): [b, s], the input itself with -100 where nothing is to be learned.
            num_target_tokens: divides the summed loss; see `heads.token_loss`.
            logits_to_keep: give logits of this many last positions only; 0 gives all.
            output_hidden_states: return them.
            output_attentions: return attention weights, which forgoes the fused backends.

        Returns:
            logits [b, s, vocab], and what was asked for

        Raises:
            ModelError: inputs that do not fit together, or are longer than the positions that the
                family has.
        """
        hidden_states: list[torch.Tensor] | None = [] if output_hidden_states else None
        attentions: list[torch.Tensor] | None = [] if output_attentions else None
        # A block that is computed again would add its keys and values to the cache again.
        checkpointing = self.checkpointing and torch.is_grad_enabled() and cache is None
        base: nn.Module = getattr(self, self.base)
        x = base(
            input_ids,
            attention_mask,
            position_ids,
            cache,
            inputs_embeds,
            checkpointing,
            hidden_states,
            attentions,
        )
        logits = self.lm_head(last_positions(x, logits_to_keep, labels))
        return ModelOutput(
            loss=None if labels is None else causal_lm_loss(logits, labels, num_target_tokens),
            logits=logits,
            hidden_states=None if hidden_states is None else tuple(hidden_states),
            attentions=None if attentions is None else tuple(attentions),
            cache=cache,
        )
