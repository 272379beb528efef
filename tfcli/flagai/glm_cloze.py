"""FlagAI's GLM classes that choose among answers by what they would fill in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from tfcli.flagai.base_model import Output
from tfcli.flagai.glm_model import GLM, Sep, choice, rows_of


class GLMForMultiTokenCloze(GLM):
    """GLM that chooses among answers of several words by how likely their words are.

    Args beside those of `BaseModel`:
        take_softmax: compare log-probabilities and not scores.
        length_penalty: divide by the answer's length to this power.
    """

    take_softmax = True
    length_penalty = 0.0

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        attention_mask: Sep = None,
        target_ids: torch.Tensor | None = None,
        logit_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **surplus: Any,
    ) -> Output:
        """Score each answer.

        Args:
            input_ids (Tensor): [b, answers, s], or [b, s] for one answer.
            position_ids (Tensor): [b, answers, 2, s]
            attention_mask (Tensor): [b, answers]
            target_ids (Tensor): [b, answers, s], the word at each place; None scores words alone.
            logit_mask (Tensor): [b, answers, s], 1 where the answer stands.
            labels (Tensor): [b], the right answer; with one answer, whether it is right.
            surplus: not looked at.

        Returns:
            `logits` [b, answers] ([b] with one answer), `hidden_states` (empty), `loss` with labels
        """
        if target_ids is None:
            logits = self.run(input_ids, position_ids, attention_mask).logits
            return {"logits": logits, "hidden_states": ()}
        answers = input_ids.shape[1] if input_ids.ndim == 3 else 1
        out = self.run(*rows_of(input_ids, position_ids, attention_mask)).logits
        assert out is not None
        if self.take_softmax:
            out = out.log_softmax(-1)
        targets = target_ids.reshape(-1, target_ids.shape[-1])
        picked = out.gather(-1, targets[..., None])[..., 0]
        mask = torch.ones_like(picked) if logit_mask is None else logit_mask.reshape(picked.shape)
        logits = (picked * mask).sum(1)
        if self.length_penalty > 0:
            logits = logits / mask.sum(1) ** self.length_penalty
        return choice(logits.view(-1, answers), labels)


class GLMForSingleTokenCloze(GLM):
    """GLM that chooses among answers of one word, at the place where part A ends."""

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        attention_mask: Sep = None,
        target_ids: torch.Tensor | None = None,
        mems: Sequence[torch.Tensor] | None = None,
        labels: torch.Tensor | None = None,
        **surplus: Any,
    ) -> Output:
        """Score each answer.

        Args:
            target_ids (Tensor): [b, answers], the words to choose from; None scores all words.
            labels (Tensor): [b], the right answer.
            surplus: not looked at.

        The others are those of `GLM.run`.

        Returns:
            `logits` [b, answers], `target_logits` [b, vocab], `hidden_states` (empty), and `loss`
            with labels
        """
        out = self.run(input_ids, position_ids, attention_mask, mems).logits
        assert out is not None
        if target_ids is None:
            return {"logits": out, "hidden_states": ()}
        at = torch.as_tensor(attention_mask, device=out.device).reshape(-1).expand(len(out)).long()
        words = out[torch.arange(len(out), device=out.device), at]
        answer: Output = {
            "logits": words.gather(-1, target_ids),
            "target_logits": words,
            "hidden_states": (),
        }
        if labels is not None:
            answer["loss"] = F.cross_entropy(answer["logits"].float(), labels.long())
        return answer
