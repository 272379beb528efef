"""FlagAI's GLM classes. `attention_mask` is `sep` here: where each row's part A ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from tfcli.errors import ModelError
from tfcli.flagai.base_model import BaseModel, Output
from tfcli.models.losses import token_loss
from tfcli.models.output import ModelOutput

Sep = torch.Tensor | int | None


class GLM(BaseModel):
    """What the GLM classes share."""

    kind = "glm"
    task = "causal-lm"

    def run(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor | None,
        attention_mask: Sep,
        mems: Sequence[torch.Tensor] | None = None,
        **more: Any,
    ) -> ModelOutput:
        """The core's answer to FlagAI's arguments.

        Args:
            input_ids (Tensor): [b, s]
            position_ids (Tensor): [b, 2, s], or [b, s] for text without blanks; None: counted.
            attention_mask: a number or a tensor of one or of [b]: tokens before it are seen by
                all, the others only by what comes later. A tensor [b or 1, 1, s, m + s] of 0/1 is
                used as it is. None: all tokens are seen only by what comes later.
            mems: earlier states, from `hidden_states` of a call with `return_memory`.
        """
        given = {} if mems is None or len(mems) == 0 else {"mems": list(mems)}
        sight = _sight(attention_mask, len(input_ids))
        return self.core(input_ids, position_ids=position_ids, **sight, **given, **more)


class GLMModel(GLM):
    """GLM, with scores for the word at each place."""

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        attention_mask: Sep = None,
        mems: Sequence[torch.Tensor] | None = None,
        return_memory: bool = False,
        detach_memory: bool = True,
        labels: torch.Tensor | None = None,
        **surplus: Any,
    ) -> Output:
        """Score the words.

        Args:
            return_memory: return the states, to be given back as `mems`.
            detach_memory: no gradient goes through the returned states.
            labels (Tensor): [b, s], the word to be predicted at each place, not shifted; -100
                where there is none.
            surplus: not looked at.

        The others are those of `GLM.run`.

        Returns:
            `logits` [b, s, vocab], `hidden_states` (the memory: [b, m + s, d] of the embeddings
            and of each layer; empty without `return_memory`), and `loss` with labels
        """
        out = self.run(
            input_ids, position_ids, attention_mask, mems, output_hidden_states=return_memory
        )
        states = _memory(out.hidden_states or (), mems, detach_memory)
        answer: Output = {"logits": out.logits, "hidden_states": states}
        assert out.logits is not None
        if labels is not None:
            answer["loss"] = token_loss(out.logits, labels)
        return answer


class GLMForSeq2Seq(GLM):
    """GLM for texts that follow from texts: part A is the source, part B the target."""

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        attention_mask: Sep = None,
        loss_mask: torch.Tensor | None = None,
        target_ids: torch.Tensor | None = None,
        **surplus: Any,
    ) -> Output:
        """Score the words, and compare them with a target where one is given.

        Args:
            loss_mask (Tensor): [b, s], how much each place counts; None: all the same.
            target_ids (Tensor): [b, s], the word at each place; 0 counts for nothing.
            surplus: not looked at.

        The others are those of `GLM.run`.

        Returns:
            `logits` [b, s, vocab], `hidden_states` (empty), and `loss` with a target: the sum of
            cross entropy times loss_mask over the sum of loss_mask
        """
        logits = self.run(input_ids, position_ids, attention_mask).logits
        assert logits is not None
        answer: Output = {"logits": logits, "hidden_states": ()}
        if target_ids is not None:
            weight = torch.ones_like(target_ids) if loss_mask is None else loss_mask
            answer["loss"] = weighted_loss(logits, target_ids, weight)
        return answer


class GLMForSequenceClassification(GLM):
    """GLM with a classifier of whole inputs, or of several inputs that compete."""

    task = "sequence-classification"
    nested = True
    needs_classes = True
    new_head = True

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        attention_mask: Sep = None,
        labels: torch.Tensor | None = None,
        **surplus: Any,
    ) -> Output:
        """Classify.

        Args:
            input_ids (Tensor): [b, s], or [b, choices, s] with class_num=1.
            position_ids (Tensor): [b, 2, s] or [b, choices, 2, s]
            attention_mask (Tensor): [b] or [b, choices]
            labels (Tensor): [b], the class or the right choice; with one class, whether it holds.
            surplus: not looked at.

        Returns:
            `logits` [b, classes or choices] ([b] with one class and labels), `hidden_states`
            (empty), and `loss` with labels
        """
        choices = input_ids.shape[1] if input_ids.ndim == 3 else None
        if choices is not None and self.core.config.num_labels != 1:
            raise ModelError("inputs that compete need class_num=1", where="input_ids")
        logits = self.run(*rows_of(input_ids, position_ids, attention_mask)).logits
        assert logits is not None
        if choices is not None:
            logits = logits.view(-1, choices)
        return choice(logits, labels)


def weighted_loss(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """The weighted mean of cross entropies; a target of 0 counts for nothing in the sum.

    Args:
        logits (Tensor): [b, s, vocab]
        targets (Tensor): [b, s]
        weights (Tensor): [b, s]

    Returns:
        []; 0 where all weights are 0
    """
    weights = weights.reshape(-1).float()
    each = F.cross_entropy(
        logits.flatten(0, -2).float(), targets.reshape(-1), ignore_index=0, reduction="none"
    )
    total = weights.sum()
    return (each * weights).sum() / torch.where(total == 0, torch.ones_like(total), total)


def _sight(attention_mask: Sep, rows: int) -> dict[str, Any]:
    """FlagAI's attention_mask as the core's arguments."""
    if attention_mask is None:
        return {}
    if isinstance(attention_mask, int):
        return {"prefix_lengths": attention_mask}
    if attention_mask.ndim == 4:
        return {"visible": attention_mask}
    if attention_mask.numel() in (1, rows):
        return {"prefix_lengths": attention_mask.reshape(-1)}
    raise ModelError(
        f"attention_mask has shape {tuple(attention_mask.shape)}",
        fix="give where each row's part A ends, [b], or who sees whom, [b, 1, s, s]",
    )


def rows_of(
    input_ids: torch.Tensor, position_ids: torch.Tensor | None, attention_mask: Sep
) -> tuple[torch.Tensor, torch.Tensor | None, Sep]:
    """Choices of a row as rows of their own."""
    if input_ids.ndim != 3:
        return input_ids, position_ids, attention_mask
    if position_ids is not None:
        position_ids = position_ids.reshape(-1, *position_ids.shape[2:])
    if isinstance(attention_mask, torch.Tensor) and attention_mask.ndim > 1:
        attention_mask = attention_mask.reshape(-1, *attention_mask.shape[2:])
    return input_ids.reshape(-1, input_ids.shape[-1]), position_ids, attention_mask


def choice(logits: torch.Tensor, labels: torch.Tensor | None) -> Output:
    """Logits [b, choices] with the loss of choosing; one choice is a yes or no."""
    answer: Output = {"logits": logits, "hidden_states": ()}
    if labels is None:
        return answer
    if logits.shape[1] == 1:
        answer["logits"] = logits = logits[:, 0]
        answer["loss"] = F.binary_cross_entropy_with_logits(logits.float(), labels.float())
    else:
        answer["loss"] = F.cross_entropy(logits.float(), labels.long())
    return answer


def _memory(
    states: Sequence[torch.Tensor], mems: Sequence[torch.Tensor] | None, detach: bool
) -> tuple[torch.Tensor, ...]:
    """The states of old and new tokens, each [b, m + s, d]."""
    found = [state.detach() if detach else state for state in states]
    if found and mems:
        found = [torch.cat(pair, 1) for pair in zip(mems, found, strict=False)]
    return tuple(found)
