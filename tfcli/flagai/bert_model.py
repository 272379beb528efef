"""FlagAI's BERT classes. `segment_ids` are BERT's token types; the id 0 is padding."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from tfcli.errors import ModelError
from tfcli.flagai.base_model import BaseModel, Output
from tfcli.flagai.glm_model import weighted_loss
from tfcli.flagai.heads import BertStates, BertWords, MaskedBert
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput


class Bert(BaseModel):
    """What the BERT classes share. Their `hidden_states` are the embeddings and each layer's."""

    kind = "bert"
    nested = True

    def run(
        self,
        input_ids: torch.Tensor,
        token_types: torch.Tensor | None,
        attention_mask: torch.Tensor | None = None,
    ) -> ModelOutput:
        """The core's answer to FlagAI's arguments.

        Args:
            input_ids (Tensor): [b, s]; nothing looks at tokens with the id 0.
            token_types (Tensor): [b, s], 0 or 1; None: all 0.
            attention_mask (Tensor): of 0/1, what may be looked at besides: [b, s], or for each
                token [b, s, s] or [b or 1, 1, s, s].
        """
        given = {} if token_types is None else {"token_type_ids": token_types}
        words = input_ids > 0
        # Positions are counted from the left, whatever is padding.
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        if attention_mask is None or attention_mask.ndim == 2:
            seen = words if attention_mask is None else words & attention_mask.bool()
            given["attention_mask"] = seen
        elif issubclass(self.core.body_class, MaskedBert):
            mask = attention_mask if attention_mask.ndim == 4 else attention_mask[:, None]
            given["visible"] = mask.bool() & words[:, None, None]
        else:
            raise ModelError(f"{type(self).__name__} takes an attention_mask of [b, s] only")
        return self.core(input_ids, position_ids=positions, output_hidden_states=True, **given)


class BertModel(Bert):
    """BERT's states, and what its pooler makes of each row's first one."""

    task = "embedding"
    nested = False
    new_head = True

    @classmethod
    def core_class(cls) -> type[Model]:
        return BertStates

    def forward(
        self,
        input_ids: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
        **surplus: Any,
    ) -> Output:
        """Encode.

        Args:
            token_type_ids (Tensor): [b, s]; `segment_ids` is the same.
            surplus: not looked at.

        The others are those of `Bert.run`.

        Returns:
            `logits` [b, s, d], the last states; `pooled` [b, d]; `hidden_states`
        """
        types = segment_ids if token_type_ids is None else token_type_ids
        out = self.run(input_ids, types, attention_mask)
        assert isinstance(self.core, BertStates) and out.logits is not None
        return {
            "logits": out.logits,
            "pooled": self.core.pool(out.logits),
            "hidden_states": out.hidden_states,
        }


class BertForEmbedding(BertModel):
    """BERT's states, under the name that FlagAI has for the task."""

    nested = True


class BertForMaskLM(Bert):
    """BERT, with scores for the word at each place."""

    task = "masked-lm"

    @classmethod
    def core_class(cls) -> type[Model]:
        return BertWords

    def forward(
        self,
        input_ids: torch.Tensor,
        segment_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **surplus: Any,
    ) -> Output:
        """Score the words.

        Args:
            segment_ids (Tensor): [b, s], 0 or 1.
            labels (Tensor): [b, s], the word at each place; -100 where there is none.
            surplus: not looked at.

        The others are those of `Bert.run`.

        Returns:
            `logits` [b, s, vocab], `hidden_states`, and `loss` with labels
        """
        out = self.run(input_ids, segment_ids, attention_mask)
        assert out.logits is not None
        answer: Output = {"logits": out.logits, "hidden_states": out.hidden_states}
        if labels is not None:
            flat = out.logits.flatten(0, -2).float()
            answer["loss"] = F.cross_entropy(flat, labels.reshape(-1))
        return answer


class BertForSeq2seq(Bert):
    """BERT for texts that follow from texts (UniLM, Dong et al. 2019).

    Tokens of segment 0 see each other; those of segment 1 see these and what came before them.
    """

    task = "masked-lm"

    @classmethod
    def core_class(cls) -> type[Model]:
        return BertWords

    def forward(
        self,
        input_ids: torch.Tensor,
        segment_ids: torch.Tensor,
        labels: torch.Tensor | None = None,
        **surplus: Any,
    ) -> Output:
        """Score the word that comes next.

        Args:
            input_ids (Tensor): [b, s]
            segment_ids (Tensor): [b, s], 0 for the source and 1 for the target.
            labels (Tensor): [b, s - 1], the input without its first token; 0 counts for nothing.
            surplus: not looked at.

        Returns:
            `logits` [b, s, vocab], `hidden_states`, and `loss` with labels, over the target
        """
        target = segment_ids.bool()
        length = input_ids.shape[1]
        earlier = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
        # A token of the source sees the source, one of the target what is not after it.
        seen = torch.where(target[:, :, None], earlier, ~target[:, None])
        out = self.run(input_ids, segment_ids, seen)
        assert out.logits is not None
        answer: Output = {"logits": out.logits, "hidden_states": out.hidden_states}
        if labels is not None:
            answer["loss"] = weighted_loss(out.logits[:, :-1], labels, segment_ids[:, 1:])
        return answer


class BertForClsClassifier(Bert):
    """BERT with a classifier of whole inputs."""

    task = "sequence-classification"
    needs_classes = True
    new_head = True

    def forward(
        self,
        input_ids: torch.Tensor,
        segment_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **surplus: Any,
    ) -> Output:
        """Classify.

        Args:
            input_ids (Tensor): [b, s]; nothing looks at tokens with the id 0.
            segment_ids (Tensor): [b, s], 0 or 1.
            labels (Tensor): [b], the class.
            surplus: not looked at.

        Returns:
            `logits` [b, classes], `hidden_states`, and `loss` with labels
        """
        out = self.run(input_ids, segment_ids)
        assert out.logits is not None
        answer: Output = {"logits": out.logits, "hidden_states": out.hidden_states}
        if labels is not None:
            answer["loss"] = F.cross_entropy(out.logits.float(), labels.reshape(-1))
        return answer


class BertForSequenceLabeling(Bert):
    """BERT with a label for each token."""

    task = "token-classification"
    needs_classes = True
    new_head = True

    def forward(
        self,
        input_ids: torch.Tensor,
        segment_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **surplus: Any,
    ) -> Output:
        """Label.

        Args:
            input_ids (Tensor): [b, s]; tokens with the id 0 have no label.
            segment_ids (Tensor): [b, s], 0 or 1.
            labels (Tensor): [b, s]
            surplus: not looked at.

        Returns:
            `logits` [b, s, classes], `hidden_states`, and `loss` with labels, over the tokens
        """
        out = self.run(input_ids, segment_ids)
        assert out.logits is not None
        answer: Output = {"logits": out.logits, "hidden_states": out.hidden_states}
        if labels is not None:
            words = (input_ids > 0).reshape(-1).float()
            flat = out.logits.flatten(0, -2).float()
            each = F.cross_entropy(flat, labels.reshape(-1), reduction="none")
            answer["loss"] = (each * words).sum() / words.sum().clamp(min=1)
        return answer
