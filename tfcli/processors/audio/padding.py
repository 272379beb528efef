"""Waves of several lengths as one batch: cut, filled up and marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from tfcli.errors import UsageError
from tfcli.limits import MAX_AUDIO_SAMPLES

Padding = bool | Literal["longest", "max_length", "do_not_pad"]


def pad_waves(
    waves: Sequence[Tensor],
    *,
    padding: Padding,
    max_length: int | None,
    truncation: bool,
    pad_to_multiple_of: int | None,
    value: float,
    side: Literal["left", "right"],
) -> tuple[Tensor, Tensor]:
    """Cut waves and fill them up to one length.

    Args:
        waves: [n] each.
        padding: to the `longest` (True), or to `max_length` and beyond it where a wave is longer;
            False or `do_not_pad` leaves them.
        max_length: samples; `truncation` and `max_length` padding need it.
        truncation: waves lose what is beyond `max_length`.
        pad_to_multiple_of: lengths are rounded up to it; a `max_length` that truncates, too.
        value: what fills up. side: where.

    Returns:
        waves [b, n], and their mask [b, n], int32: 1 for samples of the audio

    Raises:
        UsageError: arguments that contradict each other, or lengths that stay different.
    """
    if padding not in (True, False, "longest", "max_length", "do_not_pad"):
        raise UsageError(
            f"padding is {padding!r}, not longest, max_length or do_not_pad", where="padding"
        )
    for name, number in (("max_length", max_length), ("pad_to_multiple_of", pad_to_multiple_of)):
        if number is not None and number < 1:
            raise UsageError(f"{name} is {number}, below 1", where=name)
    if max_length is None and (truncation or padding == "max_length"):
        needs = "truncation" if truncation else "padding to max_length"
        raise UsageError(f"{needs} needs max_length", where="max_length")
    least = _rounded(max_length or 0, pad_to_multiple_of)
    if truncation:
        waves = [wave[:least] for wave in waves]
    lengths = [len(wave) for wave in waves]
    common = max(lengths)
    if padding in (True, "longest", "max_length"):
        common = _rounded(common, pad_to_multiple_of)
        common = max(common, least) if padding == "max_length" else common
    elif min(lengths) < common:
        raise UsageError(
            f"the waves have {min(lengths):,} to {common:,} samples and stay different",
            where="padding",
            fix="pad them to the longest, or truncate them",
        )
    if common > MAX_AUDIO_SAMPLES:
        raise UsageError(
            f"the waves would get {common:,} samples, more than {MAX_AUDIO_SAMPLES:,}",
            where="max_length",
        )
    batch = torch.full((len(waves), common), value, dtype=torch.float32)
    mask = torch.zeros(len(waves), common, dtype=torch.int32)
    for row, wave in enumerate(waves):
        start = 0 if side == "right" else common - len(wave)
        batch[row, start : start + len(wave)] = wave
        mask[row, start : start + len(wave)] = 1
    return batch, mask


def normalized(batch: Tensor, mask: Tensor | None, value: float) -> Tensor:
    """Each wave with a mean of 0 and a variance of 1.

    Args:
        batch: [b, n].
        mask: of `pad_waves`: the audio alone counts, and the rest becomes `value`. None: what
            fills up counts, too, as models without an attention mask were trained.
    """
    out = torch.full_like(batch, value)
    for row, wave in enumerate(batch):
        place = slice(None) if mask is None else mask[row].bool()
        audio = wave[place]
        out[row, place] = (audio - audio.mean()) / torch.sqrt(audio.var(correction=0) + 1e-7)
    return out


def _rounded(length: int, multiple: int | None) -> int:
    return length if multiple is None else -(-length // multiple) * multiple
