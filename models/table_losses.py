"""Losses of a number that is computed from a table's cells, where nobody says how.

Functions are numbered as in TAPAS: 0 none, 1 sum, 2 average, 3 count. Reference: transformers
`modeling_tapas.py`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.distributions import RelaxedBernoulli, RelaxedOneHotCategorical

from tfcli.models.configs.tapas import TapasConfig

EPSILON = 1e-10
"""Added to what is divided by."""


def needs_function(
    answer: torch.Tensor, functions: torch.Tensor, labels: torch.Tensor, config: TapasConfig
) -> torch.Tensor:
    """Which examples' answers are computed and not selected.

    A text is selected. A number that no cell has is computed; one that a cell has is what the model
    takes it for now.

    Args:
        answer (Tensor): [b], NaN for a text.
        functions (Tensor): [b, functions], logits.
        labels (Tensor): [b, s], 1 for the tokens of cells that have the answer.
        config: of the family.

    Returns:
        float [b] of 0/1, without gradient
    """
    some = functions.detach().softmax(-1)[:, 1:].sum(1)
    preference = config.cell_selection_preference
    assert preference is not None  # the config has checked it
    selected = (some <= preference) & (labels.sum(1) > 0)
    return (~answer.isnan() & ~selected).float()


def function_loss(functions: torch.Tensor, needed: torch.Tensor) -> torch.Tensor:
    """That no function is predicted where none is needed, and some where one is: [b]

    functions (Tensor): [b, functions], logits; needed (Tensor): [b], of `needs_function`.
    """
    none = F.log_softmax(functions, -1)[:, 0]
    some = functions.softmax(-1)[:, 1:].sum(1)
    return -none * (1 - needed) - some.log() * needed


def answer_loss(
    logits: torch.Tensor,
    functions: torch.Tensor,
    answer: torch.Tensor,
    needed: torch.Tensor,
    values: torch.Tensor,
    scale: torch.Tensor,
    table: torch.Tensor,
    config: TapasConfig,
) -> tuple[torch.Tensor, torch.Tensor]:
    """How far the expected number is from the answer.

    Args:
        logits (Tensor): [b, s], of tokens.
        functions (Tensor): [b, functions], logits.
        answer (Tensor): [b], NaN for a text.
        needed (Tensor): [b], of `needs_function`.
        values (Tensor): [b, s], numbers of the tokens' cells, NaN where they have none.
        scale (Tensor): [b, s], tokens that share the number.
        table (Tensor): [b, s], 1 for tokens of cells.
        config: of the family.

    Returns:
        the loss [b], and 0/1 [b]: whether it is near enough to count
    """
    expected = expected_number(logits, functions, values, scale, table, config)
    number, delta = answer.nan_to_num(0.0), config.huber_loss_delta
    if config.use_normalized_answer_loss:
        size = (torch.maximum(expected.abs(), number.abs()) + EPSILON).detach()
        expected, number, delta = expected / size, number / size, 1.0
    assert delta is not None  # the config has checked it
    loss = F.huber_loss(expected * needed, number * needed, reduction="none", delta=delta)
    cutoff = config.answer_loss_cutoff
    near = torch.ones_like(loss) if cutoff is None else (loss <= cutoff).float()
    return config.answer_loss_importance * loss * needed, near


def expected_number(
    logits: torch.Tensor,
    functions: torch.Tensor,
    values: torch.Tensor,
    scale: torch.Tensor,
    table: torch.Tensor,
    config: TapasConfig,
) -> torch.Tensor:
    """The mean of sum, average and count by their probabilities: [b]. Arguments: `answer_loss`."""
    if config.use_gumbel_for_cells:
        heat = torch.tensor(config.temperature, device=logits.device)
        chances = RelaxedBernoulli(heat, logits=logits * config.temperature).sample()
    else:
        chances = logits.sigmoid()
    chances = chances / scale * table
    values = values.nan_to_num(0.0)
    count, total = chances.sum(1), (chances * values).sum(1)
    kind = config.average_approximation_function
    if kind == "ratio":
        average = total / (count + EPSILON)
    else:
        others = count[:, None] - chances + 1  # how many are selected with a cell that is
        weight = 1 / others
        if kind == "second_order":
            spread = chances * (1 - chances)
            spread = spread.sum(1, keepdim=True) - spread
            weight = (spread / others.square() + 1) / others
        average = (values * chances * weight).sum(1)
    if config.use_gumbel_for_aggregation:
        heat = torch.tensor(config.aggregation_temperature, device=logits.device)
        shares = RelaxedOneHotCategorical(heat, logits=functions[:, 1:]).sample()
    else:
        shares = (functions[:, 1:] / config.aggregation_temperature).softmax(-1)
    return (torch.stack((total, average, count), 1) * shares).sum(1)
