"""Metrics of answers that were judged one by one: predictions are rewards, references whether each
answer is desirable.

`desirable_reward` and `undesirable_reward` are the mean rewards of either kind, `reward_margin` is
how far the first is above the second. TRL's KTOTrainer logs them as rewards/chosen,
rewards/rejected and rewards/margins. What is a mean of no answer is no number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def figures(
    names: Sequence[str], predictions: Sequence[float], references: Sequence[bool]
) -> Mapping[str, float]:
    """See the module."""
    rewards, good = np.asarray(predictions, np.float64), np.asarray(references, bool)
    desirable, undesirable = _mean(rewards[good]), _mean(rewards[~good])
    known = {
        "desirable_reward": desirable,
        "undesirable_reward": undesirable,
        "reward_margin": desirable - undesirable,
    }
    return {name: known[name] for name in names}


def _mean(rewards: np.ndarray) -> float:
    return float(rewards.mean()) if len(rewards) else float("nan")
