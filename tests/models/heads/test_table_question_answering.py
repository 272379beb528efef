"""The losses of questions about a table, beside transformers'."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from tests.models.heads.test_masked_lm import TINY
from tests.models.parity import assert_close, our_gradients, their_gradients, twin
from tests.models.test_parity import pad_tokens
from tfcli.models.config import config_from_recipe
from tfcli.models.errors import ModelError

TASK = "table-question-answering"
ROWS, LENGTH = 4, 12
SIZES = TINY | {"type_vocab_sizes": [3, 5, 6, 2, 5, 5, 4], "initializer_range": 0.5}
ANSWERS = {
    "num_aggregation_labels": 4,
    "use_answer_as_supervision": True,
    "cell_selection_preference": 0.7,
    "huber_loss_delta": 5.0,
}


def batch() -> dict[str, torch.Tensor]:
    """Questions about tables of two columns and three rows. The last answer is a text."""
    torch.manual_seed(1)
    types = torch.zeros(ROWS, LENGTH, 7, dtype=torch.long)
    types[:, 4:, 1] = torch.tensor([1, 2, 1, 2, 2, 1, 2, 2])
    types[:, 4:, 2] = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3])
    values = torch.full((ROWS, LENGTH), torch.nan)
    values[:, 6:] = torch.tensor([3.0, 10.0, 10.0, 5.0, 7.0, 1.5])
    scale = torch.ones(ROWS, LENGTH)
    scale[:, 7:9] = 2
    labels = torch.zeros(ROWS, LENGTH, dtype=torch.long)
    labels[0, 7:9] = labels[1, 10] = labels[3, 6] = 1
    return {
        "input_ids": torch.randint(4, 23, (ROWS, LENGTH)),
        "token_type_ids": types,
        "labels": labels,
        "aggregation_labels": torch.tensor([0, 2, 1, 3]),
        "float_answer": torch.tensor([10.0, 4.0, 20.0, torch.nan]),
        "numeric_values": values,
        "numeric_values_scale": scale,
    }


def reference(**settings: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    config = transformers.TapasConfig(**SIZES, **settings)
    return transformers.TapasForQuestionAnswering(config).eval()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.3, "disable_per_token_loss": True, "num_aggregation_labels": 4},
        {"select_one_column": False},
        {"select_one_column": False, "average_logits_per_cell": True, "positive_label_weight": 3.0},
        {"num_aggregation_labels": 4, "aggregation_loss_weight": 0.3},
        ANSWERS,
        ANSWERS | {"average_approximation_function": "first_order", "answer_loss_cutoff": 20.0},
        ANSWERS | {"average_approximation_function": "second_order", "answer_loss_importance": 0.1},
        ANSWERS | {"use_normalized_answer_loss": True, "select_one_column": False},
        ANSWERS | {"aggregation_temperature": 0.4, "cell_selection_preference": 0.999},
        ANSWERS | {"use_gumbel_for_cells": True, "use_gumbel_for_aggregation": True},
    ],
    ids=lambda settings: "-".join(k for k in settings if k not in ANSWERS) or str(len(settings)),
)
def test_losses_are_theirs(settings):
    theirs = reference(**settings)
    ours, given = twin(theirs, TASK), batch()
    if not theirs.config.select_one_column:
        given["labels"] = given["labels"].float()  # theirs takes no others there
    torch.manual_seed(3)  # what is drawn
    expected = theirs(**given)
    torch.manual_seed(3)
    actual = ours(**given)
    assert_close(actual.loss, expected.loss)
    assert_close(actual.logits, expected.logits)
    if expected.logits_aggregation is not None:
        assert_close(actual.logits_aggregation, expected.logits_aggregation)
    expected.loss.backward()
    actual.loss.backward()
    own, other = our_gradients(ours), their_gradients(theirs)
    assert own.keys() == other.keys()
    largest = max(gradient.abs().max().item() for gradient in other.values())
    for name, gradient in other.items():
        assert (own[name] - gradient).abs().max() <= 2e-5 * largest, name


def test_padding_changes_nothing():
    ours, given = twin(reference(allow_empty_column_selection=True), TASK), batch()
    wide = {n: pad_tokens(v, (0, 3), 1) if v.ndim > 1 else v for n, v in given.items()}
    mask = pad_tokens(torch.ones_like(given["input_ids"]), (0, 3), 1, value=0)
    for name in ("token_type_ids", "labels"):  # as tokenizers fill them
        wide[name] = wide[name] * (mask[..., None] if name == "token_type_ids" else mask)
    with torch.no_grad():
        alone, padded = ours(**given), ours(**wide, attention_mask=mask)
    assert_close(padded.loss, alone.loss)
    assert_close(padded.logits[:, :LENGTH], alone.logits)


@pytest.mark.parametrize("lacks", ["float_answer", "numeric_values", "numeric_values_scale"])
def test_a_label_is_missing(lacks):
    ours, given = twin(reference(**ANSWERS), TASK), batch()
    del given[lacks]
    with pytest.raises(ModelError, match=f"needs {lacks}"):
        ours(**given)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"num_aggregation_labels": 3}, "must be 4"),
        ({"cell_selection_preference": None}, "cell_selection_preference is needed"),
        ({"huber_loss_delta": None}, "huber_loss_delta is needed"),
        ({"average_approximation_function": "mean"}, "built are ratio"),
        ({"temperature": 0.0}, "must be above 0"),
    ],
)
def test_configs_that_are_refused(changes, problem):
    with pytest.raises(ModelError, match=problem):
        config_from_recipe({"model_type": "tapas", **SIZES, **ANSWERS, **changes})
