"""The windows that a forecast is made and checked with, as a model of each kind sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfcli.quantize.calibrate import batches_of
from tfcli.quantize.output import Output
from tfcli.quantize.predicted import ENDINGS, Ending, masked_states, with_masks
from tfcli.quantize.runs import Inputs
from tfcli.quantize.text import CalibrationText


@dataclass(frozen=True)
class Held:
    """Text that calibration does not see.

    Args:
        windows: what the model is called with for each.
        states_of: gives the states that it predicts words from.
        tokens: how many words it predicts in all windows.
    """

    windows: Sequence[Inputs]
    states_of: Ending
    tokens: int


def held_of(output: Output, text: CalibrationText) -> Held:
    """The held-out windows for the model of an output: an encoder gets them with masks, and is to
    predict what is below these.

    Args:
        output: whose model `require_predictions` has let through.
        text: with windows that are held out, and the mask token of an encoder.
    """
    if text.mask is not None:
        masked = with_masks(text.held, text.mask, text.account.prefix_per_window)
        count = int((masked == text.mask).sum())
        return Held(batches_of(output, masked, 1), masked_states(text.mask), count)
    windows = batches_of(output, text.held, 1)
    read = [each.get("decoder_input_ids", each["input_ids"]) for each in windows]
    tokens = sum(ids[:, 1:].numel() for ids in read)
    return Held(windows, ENDINGS[output.model.task], tokens)
