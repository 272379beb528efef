"""SpecAugment (Park et al. 2019): in training, spans of the features are hidden."""

from __future__ import annotations

import torch

from tfcli.models.configs.speech import SpeechConfig
from tfcli.models.errors import ModelError


def hidden_spans(
    lengths: torch.Tensor, size: int, *, share: float, length: int, least: int
) -> torch.Tensor:
    """Draw spans, as transformers does: so many that without overlaps they were a share of a row.

    Args:
        lengths (Tensor): int64 [b], places of each row that spans may lie in.
        size: places of a row.
        share: of the places, about.
        length: of a span.
        least: spans of a row, where it has room for them.

    Returns:
        bool [b, size], true within spans

    Raises:
        ModelError: rows that are shorter than a span.
    """
    if length > size:
        raise ModelError(
            f"spans of {length} places are to be hidden, but there are {size}",
            fix="give longer inputs, or set apply_spec_augment to false",
        )
    rounding = torch.rand(()).item()
    hidden = torch.zeros(len(lengths), size, dtype=torch.bool)
    for row, places in enumerate(lengths.tolist()):
        starts = max(places - length + 1, 0)
        count = max(int(share * places / length + rounding), least)
        count = min(count, size // length, starts)
        for start in torch.randperm(starts)[:count].tolist():
            hidden[row, start : start + length] = True
    return hidden.to(lengths.device)


def hidden_times(
    config: SpeechConfig, rows: int, size: int, padding: torch.Tensor | None = None
) -> torch.Tensor:
    """Which times of a batch are hidden.

    Args:
        config: of the model.
        rows: b. size: times.
        padding (Tensor): [b, size] of 0/1, or None.

    Returns:
        bool [b, size]
    """
    lengths = torch.full((rows,), size) if padding is None else padding.sum(-1)
    return hidden_spans(
        lengths,
        size,
        share=config.mask_time_prob,
        length=config.mask_time_length,
        least=config.mask_time_min_masks,
    )


def hidden_features(config: SpeechConfig, rows: int, size: int) -> torch.Tensor:
    """Which features of a batch are hidden, at all times: bool [b, size]; see `hidden_times`."""
    return hidden_spans(
        torch.full((rows,), size),
        size,
        share=config.mask_feature_prob,
        length=config.mask_feature_length,
        least=config.mask_feature_min_masks,
    )
