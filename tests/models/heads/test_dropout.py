"""Dropout in heads, which no comparison in eval mode shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import transformers
from torch import nn

from tests.models.cases.encoders import CASES
from tests.models.parity import inputs, pair_id, reference, twin

RATES = {
    "hidden_dropout_prob": 0.11,
    "dropout": 0.12,
    "seq_classif_dropout": 0.13,
    "qa_dropout": 0.14,
    "summary_last_dropout": 0.15,
    "pooler_dropout": 0.16,
}
FAMILIES = ("bert", "roberta", "distilbert", "albert", "electra", "layoutlm", "tapas")
FAMILIES += ("convbert", "deberta-v2", "modernbert")
PAIRS = [
    (case, task)
    for case in CASES
    if case.name in FAMILIES
    for task in case.tasks
    if task != "embedding"
]


def dropped(model: nn.Module, body: nn.Module) -> list[float]:
    """The rate of each dropout outside of the body, as it runs."""
    rates: list[float] = []
    inside = set(body.modules())
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module not in inside:
            module.register_forward_pre_hook(lambda own, _: rates.append(own.p) if own.p else None)
    return rates


@pytest.mark.parametrize(("case", "task"), PAIRS, ids=pair_id)
@pytest.mark.parametrize("own_rate", [False, True], ids=["body's", "own"])
def test_heads_drop_what_theirs_drop(case, task, own_rate):
    """With the rate that the config has for classifiers, and with that of the rest."""
    known = getattr(transformers, case.config)().to_dict()
    settings = {key: rate for key, rate in RATES.items() if key in known}
    # RoBERTa's multiple choice alone does not look at the rate for classifiers in theirs.
    if own_rate and (case.name, task) != ("roberta", "multiple-choice"):
        settings |= {key: 0.25 for key in known if key.startswith("classifier_dropout")}
    case = replace(case, settings=case.settings | settings)
    theirs = reference(case, task)
    ours, batch = twin(theirs, task), inputs(case, task)
    expected, actual = dropped(theirs, theirs.base_model), dropped(ours, ours.body)
    with torch.no_grad():
        theirs.train()(**batch)
        ours.train()(**batch)
    assert actual == expected
