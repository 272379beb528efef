"""Calibration text as windows of token ids."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.errors import UsageError, WorkError
from tfcli.models.encoder_decoder import EncoderDecoder
from tfcli.models.model import Model
from tfcli.quantize.result_spec import Calibration
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.job import Job

_HELD_TOKENS = 2048
"""That a forecast is made and checked with, or an eighth of the text where that is less."""


@dataclass(frozen=True)
class CalibrationText:
    """Calibration text as token ids.

    Args:
        windows (Tensor): int64 [windows, length].
        held (Tensor): int64 [held, length], windows that calibration is not to see.
        account: what to report of them.
        mask: id of the mask token, where windows are held out for a model that predicts those.
    """

    windows: Tensor
    held: Tensor
    account: Calibration
    mask: int | None = None


def calibration_text(
    spec: QuantizeSpec,
    job: Job,
    checkpoint: Checkpoint,
    *,
    hold_out: bool = False,
    masked: bool = False,
) -> CalibrationText:
    """Read, tokenize and draw the windows that are asked for.

    Args:
        spec: says from where, how many and how long.
        job: told what was read.
        checkpoint: whose tokenizer is used.
        hold_out: draw some windows more, which calibration is not to see.
        masked: the model predicts what is below masks, so its mask token is looked up.

    Raises:
        UsageError: windows that the model cannot take, or a tokenizer without a mask token.
        WorkError: a text that is too short.
    """
    length = window_length(spec, checkpoint)
    held = -(-_HELD_TOKENS // length) if hold_out else 0
    # Rounding needs neither: what it loads stays small.
    from tfcli.data.chats import document_ids
    from tfcli.data.documents import load_documents, python_docs
    from tfcli.tokenizers.load import load_tokenizer
    from tfcli.tokenizers.mask import mask_id

    if spec.data is None:
        job.console.note("no calibration text is given: Python's language reference is used")
        documents = python_docs()
    else:
        documents = load_documents(spec.data, split="train", console=job.console, chats=True)
        job.has_read(spec.data)
    tokenizer = load_tokenizer(checkpoint.beside)
    mask = mask_id(tokenizer, "model") if masked else None
    encoded = document_ids(documents, tokenizer, checkpoint.beside)
    windows = token_windows(
        encoded,
        length=length,
        samples=spec.samples + held,
        seed=spec.seed,
        prefix=tokenizer.prefix,
    )
    held = min(held, len(windows.ids) // 8)
    if hold_out and not held:
        raise WorkError(
            f"the calibration text has {len(windows.ids)} windows of {length} tokens, and one in "
            "eight is held out to forecast with",
            where="data",
            fix="give more text, or a smaller sequence_length",
        )
    count = min(spec.samples, len(windows.ids) - held)
    if count < spec.samples:
        job.console.note(
            f"the calibration text has {windows.available} windows of {length} "
            f"tokens, {spec.samples} were asked for; all are used"
        )
    first = encoded[0] if encoded else []
    job.console.detail(f"calibration begins with the ids {first[:8]}")
    account = Calibration(
        documents=len(documents),
        windows=count,
        windows_available=windows.available,
        sequence_length=length,
        tokens=count * length,
        bos_per_document=leading(first, tokenizer.bos_id),
        prefix_per_window=len(tokenizer.prefix),
        first_ids=first[:8],
    )
    return CalibrationText(windows.ids[:count], windows.ids[count : count + held], account, mask)


def window_length(spec: QuantizeSpec, checkpoint: Checkpoint) -> int:
    """Tokens of a calibration window.

    Raises:
        UsageError: more than the model can take.
    """
    text = checkpoint.model_config.text
    length = spec.sequence_length or min(512, text.trained_length)
    if length > text.longest_input:
        raise UsageError(
            f"{length} is more than the model's {text.longest_input} positions",
            where="sequence_length",
            fix=f"use at most {text.longest_input}",
        )
    return length


def leading(ids: list[int], token: int | None) -> int:
    """How many times `ids` begins with `token`."""
    count = 0
    while token is not None and count < len(ids) and ids[count] == token:
        count += 1
    return count


@dataclass(frozen=True)
class Windows:
    """Calibration text as token ids.

    Args:
        ids (Tensor): int64 [windows, length].
        available: how many windows the text had.
    """

    ids: Tensor
    available: int


def token_windows(
    documents: Sequence[Sequence[int]],
    *,
    length: int,
    samples: int,
    seed: int,
    prefix: Sequence[int] = (),
) -> Windows:
    """Join documents, cut them into windows that do not overlap, and draw some of these.

    Args:
        documents: token ids of each, with the special tokens that the tokenizer declares.
        length: tokens of a window.
        samples: windows to draw; all of them when there are fewer.
        seed: of the draw.
        prefix: ids that every window begins with, as every text of the model does. They count into
            its length.

    Raises:
        UsageError: no window has room beside the prefix.
        WorkError: the text has less than one window of tokens.
    """
    if length <= len(prefix):
        raise UsageError(
            f"a window of {length} has no room beside the {len(prefix)} tokens that the tokenizer "
            "puts before a text",
            where="sequence_length",
            fix=f"sequence_length: {len(prefix) + 1} or more",
        )
    ids = [token for document in documents for token in document]
    every = list(_cut(ids, length, list(prefix)))
    if not every:
        raise WorkError(
            f"the calibration text has {len(ids)} tokens, less than one window of {length}",
            where="data",
            fix="give more text, or a smaller sequence_length",
        )
    chosen = random.Random(seed).sample(range(len(every)), min(samples, len(every)))
    return Windows(torch.tensor([every[number] for number in chosen]), len(every))


def _cut(ids: Sequence[int], length: int, prefix: list[int]) -> Iterator[list[int]]:
    """Windows of a stream, each with the prefix once: a document that begins one has its own."""
    at = 0
    while True:
        before = [] if list(ids[at : at + len(prefix)]) == prefix else prefix
        end = at + length - len(before)
        if end > len(ids):
            return
        yield [*before, *ids[at:end]]
        at = end


def inputs_of(model: Model, ids: Tensor) -> dict[str, Tensor]:
    """What a model is called with to see windows of text.

    An encoder-decoder reads the first half of each, and writes the second.

    Args:
        model: any that reads text.
        ids (Tensor): int64 [b, s].
    """
    if not isinstance(model.body, EncoderDecoder) or not hasattr(model.body, "decoder"):
        return {"input_ids": ids}
    half = ids.shape[1] // 2
    return {"input_ids": ids[:, :half], "decoder_input_ids": ids[:, half:]}
