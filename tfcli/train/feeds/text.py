"""Text files as streams of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tfcli.console import Console
from tfcli.data.documents import read_documents
from tfcli.data.tokens import token_stream
from tfcli.errors import UsageError
from tfcli.tokenizers.load import Tokenizer
from tfcli.train.feeds.feed import derive_seed
from tfcli.train.feeds.fim import FIMStream
from tfcli.train.feeds.held_out import held_out, text_key
from tfcli.train.feeds.windows import Stream
from tfcli.train.spec import TrainSpec
from tfcli.train.subwords import SubwordSampler
from tfcli.units import plural


@dataclass(frozen=True)
class Text:
    """Training and validation text as tokens.

    Args:
        stream: the training tokens of an epoch.
        validation (Tensor): [n] int64, or None.
    """

    stream: Stream
    validation: torch.Tensor | None


def read_text(spec: TrainSpec, tokenizer: Tokenizer, console: Console) -> Text:
    """Read and encode the data.

    Raises:
        UsageError: less than one window of tokens.
        WorkError: files that cannot be read, or without text.
    """
    documents = read_documents(spec.data, spec.text_field, split="train", console=console)
    apart: list[str] | None = None
    if spec.validation_share is not None:
        documents, apart = _divided(documents, spec.validation_share)
        console.note(f"{plural(len(apart), 'document')} of {spec.data} held out for validation")
    stream = _stream(documents, tokenizer, spec, 0)
    _require_window(stream, "data", spec.sequence_length)
    validation = None
    if spec.validation is not None:
        apart = read_documents(
            spec.validation, spec.text_field, split="validation", console=console
        )
        both = len(set(apart) & set(documents))
        if both:
            console.warn(f"{both:,} of the validation documents are trained on as well")
    if apart is not None:
        validation = _stream(apart, tokenizer, spec, "validation")
        key = "validation" if spec.validation_share is None else "validation_share"
        _require_window(validation, key, 1)
    if spec.fim.rate:
        return Text(lambda epoch: _stream(documents, tokenizer, spec, epoch), validation)
    if not spec.bpe_dropout:
        return Text(lambda epoch: stream, validation)
    sampler = SubwordSampler(documents, tokenizer, spec.bpe_dropout)

    def sampled(epoch: int) -> torch.Tensor:
        return torch.from_numpy(sampler.sample(derive_seed(spec.seed, "bpe_dropout", epoch)))

    return Text(sampled, validation)


def _divided(documents: list[str], share: float) -> tuple[list[str], list[str]]:
    """The documents that are trained on, and those that are held out."""
    apart = held_out(np.array([text_key(text) for text in documents], np.int64), share)
    pairs = list(zip(documents, apart, strict=True))
    return [text for text, out in pairs if not out], [text for text, out in pairs if out]


def _stream(
    documents: list[str], tokenizer: Tokenizer, spec: TrainSpec, epoch: int | str
) -> torch.Tensor:
    """The tokens of documents, some of them rearranged where that is asked for."""
    if spec.fim.rate:
        ids = FIMStream(documents, tokenizer, spec.fim, spec.seed).ids(epoch)
    else:
        ids = token_stream(documents, tokenizer)
    return torch.from_numpy(ids).long()


def _require_window(stream: torch.Tensor, key: str, length: int) -> None:
    if len(stream) < length + 1:
        raise UsageError(
            f"the text has {len(stream):,} tokens, and one window takes {length + 1:,}",
            where=key,
            fix="give more text, or a smaller sequence_length",
        )
