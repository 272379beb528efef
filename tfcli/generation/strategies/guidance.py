"""Classifier-free guidance: away from what a model says after another prompt (Sanchez et al.
2023)."""

from __future__ import annotations

import torch

from tfcli.generation.loop import spread
from tfcli.generation.readers import Reader


class Guidance:
    """A process: the difference between what the model says after the prompt and after another one
    is made larger.

    Args:
        scale: by this factor; 1 changes nothing.
        reader: of the other prompts, one a row.
        begin: how many columns the texts have before their first new token.
    """

    def __init__(self, scale: float, reader: Reader, begin: int) -> None:
        self._scale, self._reader, self._begin = scale, reader, begin
        self._others = reader.begin
        self._has = list(range(len(reader.begin)))

    def __call__(self, ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        goes_on = (ids[:, -1] >= 0).tolist()
        rows = [row for row, on in enumerate(goes_on) if on]
        if rows != self._has:
            places = torch.tensor([self._has.index(row) for row in rows], device=ids.device)
            self._reader.select(places)
            self._has = rows
        whole = torch.cat((self._others, ids[:, self._begin :]), dim=1)
        other = self._reader(whole[rows])[:, -1].float().log_softmax(-1)
        other = spread(other, rows, len(ids))
        return other + self._scale * (logits.log_softmax(-1) - other)
