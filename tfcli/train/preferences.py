"""Losses of answers that are preferred, or judged one by one, from what a model thinks of them.

DPO: Rafailov et al. 2023. IPO: Azar et al. 2023. ORPO: Hong et al. 2024. SimPO: Meng et al. 2024.
KTO: Ethayarajh et al. 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

NEEDS_START = ("dpo", "ipo")
"""The losses that compare with the model that training began with."""
USUAL_BETA = {"dpo": 0.1, "ipo": 0.1, "kto": 0.1, "orpo": 0.1, "simpo": 2.0}
"""The losses that there are, with the scale that their papers use."""


@dataclass(frozen=True)
class Beliefs:
    """What a model thinks of pairs of answers, given their prompts.

    Args:
        chosen (Tensor): [b], the summed log probabilities of an answer's tokens.
        rejected (Tensor): [b], the same of the other.
        chosen_tokens (Tensor): [b], how many tokens these are.
        rejected_tokens (Tensor): [b]
    """

    chosen: Tensor
    rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    @property
    def means(self) -> tuple[Tensor, Tensor]:
        """The mean log probabilities of a token: of the chosen answers, and of the others."""
        return self.chosen / self.chosen_tokens, self.rejected / self.rejected_tokens


def beliefs(logits: Tensor, targets: Tensor, ignored: int) -> Beliefs:
    """What logits say of pairs.

    Args:
        logits (Tensor): [2b, s, vocab], the chosen answers before the others.
        targets (Tensor): [2b, s], the token that each position predicts.
        ignored: a target that counts for nothing, as those within a prompt.
    """
    sums, tokens = answer_logs(logits, targets, ignored)
    return Beliefs(*sums.chunk(2), *tokens.chunk(2))


def answer_logs(logits: Tensor, targets: Tensor, ignored: int) -> tuple[Tensor, Tensor]:
    """The summed log probabilities of each row's targets, and how many they are; both [b].

    Args:
        logits (Tensor): [b, s, vocab]
        targets (Tensor): [b, s]
        ignored: a target that counts for nothing.
    """
    apart = F.cross_entropy(
        logits.flatten(0, -2).float(), targets.flatten(), ignore_index=ignored, reduction="none"
    )
    return -apart.view_as(targets).sum(-1), (targets != ignored).sum(-1)


def pair_losses(
    name: str, policy: Beliefs, start: Beliefs | None, beta: float, margin: float
) -> Tensor:
    """The loss of each pair, [b].

    Args:
        name: `dpo`, `ipo`, `orpo` or `simpo`.
        policy: what the trained model thinks.
        start: what the model thought before; of the losses in `NEEDS_START`.
        beta: the scale: of the reward (DPO, SimPO), of the distance that is aimed at (IPO's tau),
            or of the odds ratio's share (ORPO's lambda).
        margin: by which SimPO wants rewards to differ, its gamma.
    """
    if start is not None:
        gain = (policy.chosen - start.chosen) - (policy.rejected - start.rejected)
        if name == "dpo":
            return -F.logsigmoid(beta * gain)
        return (gain - 1 / (2 * beta)) ** 2
    chosen, rejected = policy.means
    if name == "simpo":
        return -F.logsigmoid(beta * (chosen - rejected) - margin)
    return -chosen - beta * F.logsigmoid(_log_odds(chosen) - _log_odds(rejected))


def judged_losses(gain: Tensor, good: Tensor, kl: Tensor, beta: float) -> Tensor:
    """KTO's loss of each answer that was judged alone, [b] (Ethayarajh et al. 2024, equation 7).

    Args:
        gain (Tensor): [b], by how much an answer's log probability is above that of the start.
        good (Tensor): [b] of bool, whether it is desirable.
        kl (Tensor): [], how far the model is from the start: what a gain is compared with.
        beta: the scale of rewards.
    """
    value = torch.where(good, gain - kl, kl - gain)
    return 1 - torch.sigmoid(beta * value)


def _log_odds(mean: Tensor) -> Tensor:
    """log(p / (1 - p)) of a probability p < 1, from log p."""
    # A token that is certain, to float32's digits, would have infinite odds.
    mean = mean.clamp(max=-torch.finfo(torch.float32).eps)
    return mean - torch.log(-torch.expm1(mean))
