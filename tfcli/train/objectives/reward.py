"""Give the better of two answers the greater number (Ouyang et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from tfcli.train.batch import Batch
from tfcli.train.measures.choose import chosen
from tfcli.train.measures.labels import PairMeasure
from tfcli.train.measures.measure import Measure
from tfcli.train.objectives.objective import Forward, Material
from tfcli.train.objectives.rows import PairObjective


class Reward(PairObjective):
    """The model has one output, for a prompt with an answer.

    The loss of a pair is how improbable it is that the chosen answer is preferred, where its log
    odds are the difference of both outputs (Bradley and Terry 1952).
    """

    task: ClassVar[str] = "sequence-classification"
    new_head: ClassVar[bool] = True
    config_keys: Mapping[str, Any] = MappingProxyType(
        {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "problem_type": None}
    )

    def measure(self, asked: Sequence[str] | None, material: Material) -> Measure | None:
        """Of the rewards of both answers."""
        names = chosen(asked, "pairs", ("pair_accuracy",), material.console)
        return PairMeasure(names) if names else None

    def loss(self, model: Forward, batch: Batch) -> Tensor:
        """The sum of the pairs' losses."""
        logits = model(**batch).logits
        assert logits is not None, "its head has them"
        chosen, rejected = logits.float().squeeze(-1).chunk(2)
        return -F.logsigmoid(chosen - rejected).sum()
