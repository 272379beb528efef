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
    """Text as tokens.

    Args:
        stream: the tokens of an epoch.
        validation (Tensor): [n] int64, those that are held out; or None.
        keys (ndarray): [n] a number of each document of the stream, which equal ones share.
    """

    stream: Stream
    validation: torch.Tensor | None
    keys: np.ndarray


def read_text(spec: TrainSpec, tokenizer: Tokenizer, console: Console, key: str = "data") -> Text:
    """Read and encode the data of one source.

    Args:
        key: of the source, for errors.

    Raises:
        UsageError: less than one window of tokens.
        WorkError: files that cannot be read, or without text.
    """
    assert spec.data is not None, "it is the spec of one source"
    documents = read_documents(spec.data, spec.text_field, split=spec.split, console=console)
    keys = _keys(documents)
    validation = None
    if spec.validation_share is not None:
        out = held_out(keys, spec.validation_share)
        apart = [text for text, is_out in zip(documents, out, strict=True) if is_out]
        documents = [text for text, is_out in zip(documents, out, strict=True) if not is_out]
        keys = keys[~out]
        console.note(f"{plural(len(apart), 'document')} of {spec.data} held out for validation")
        validation = tokens_of(apart, tokenizer, spec, "validation")
        _require_window(validation, "validation_share", 1)
    stream = tokens_of(documents, tokenizer, spec, 0)
    _require_window(stream, key, spec.sequence_length)
    if spec.fim.rate:
        return Text(lambda epoch: tokens_of(documents, tokenizer, spec, epoch), validation, keys)
    if not spec.bpe_dropout:
        return Text(lambda epoch: stream, validation, keys)
    sampler = SubwordSampler(documents, tokenizer, spec.bpe_dropout)

    def sampled(epoch: int) -> torch.Tensor:
        return torch.from_numpy(sampler.sample(derive_seed(spec.seed, "bpe_dropout", epoch)))

    return Text(sampled, validation, keys)


def read_validation(spec: TrainSpec, tokenizer: Tokenizer, console: Console) -> Text:
    """Read and encode text that is validated on.

    Raises:
        UsageError, WorkError: as `read_text`.
    """
    assert spec.validation is not None, "it is asked for"
    documents = read_documents(
        spec.validation, spec.text_field, split=spec.validation_split, console=console
    )
    stream = tokens_of(documents, tokenizer, spec, "validation")
    _require_window(stream, "validation", 1)
    return Text(lambda epoch: stream, None, _keys(documents))


def _keys(documents: list[str]) -> np.ndarray:
    return np.array([text_key(text) for text in documents], np.int64)


def tokens_of(
    documents: list[str], tokenizer: Tokenizer, spec: TrainSpec, part: int | str
) -> torch.Tensor:
    """The tokens of documents, [n] int64; some of them rearranged where that is asked for.

    Args:
        part: of the source, which draws another arrangement for each.
    """
    if spec.fim.rate:
        ids = FIMStream(documents, tokenizer, spec.fim, spec.seed).ids(part)
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
