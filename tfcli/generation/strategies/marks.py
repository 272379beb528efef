"""What generation_config.json and a user say of watermarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch

from tfcli.errors import WorkError
from tfcli.generation.processors import Process
from tfcli.generation.synthid import SynthId, synthid
from tfcli.generation.values import WHERE, count, number, share
from tfcli.generation.watermark import Watermark, marked

KEY = "watermarking_config"
Mark = Watermark | SynthId


def marks(mark: Mark, vocab: int, start: torch.Tensor) -> Process:
    """The process that marks new tokens.

    Args:
        mark: how.
        vocab: the model's tokens.
        start (Tensor): int64 [b], how many ids each row has before its first new one.
    """
    return synthid(mark, start) if isinstance(mark, SynthId) else marked(mark, vocab)


def read_watermark(said: Mapping[str, Any]) -> Mark | None:
    """How texts are marked, by SynthID where there are `keys`; None: they are not.

    Raises:
        WorkError: a value that cannot be; names its key.
    """
    found = said.get(KEY)
    if found is None:
        return None
    if not isinstance(found, Mapping):
        raise WorkError(f"{KEY}: must have keys and values, not {found!r}", where=WHERE)
    kind = SynthId if "keys" in found else Watermark
    names = [each.name for each in fields(kind)]
    other = next((key for key in found if key not in names), None)
    if other is not None:
        raise WorkError(
            f"{KEY}: has no key {other} beside the others",
            where=WHERE,
            fix=f"the keys are {', '.join(names)}",
        )
    return _synthid(found) if "keys" in found else _green(found)


def _green(found: Mapping[str, Any]) -> Watermark:
    plain = Watermark()
    ratio = number(found, "greenlist_ratio", plain.greenlist_ratio, share)
    scheme = found.get("seeding_scheme", plain.seeding_scheme)
    if not 0 < ratio < 1:
        raise WorkError(f"{KEY}: greenlist_ratio must be above 0 and below 1", where=WHERE)
    if scheme not in ("lefthash", "selfhash"):
        raise WorkError(f"{KEY}: seeding_scheme must be lefthash or selfhash", where=WHERE)
    width = count(found, "context_width", plain.context_width)
    if width < 1:
        raise WorkError(f"{KEY}: context_width must be 1 or more", where=WHERE)
    return Watermark(
        greenlist_ratio=ratio,
        bias=number(found, "bias", plain.bias),
        hashing_key=count(found, "hashing_key", plain.hashing_key),
        seeding_scheme=scheme,
        context_width=width,
    )


def _synthid(found: Mapping[str, Any]) -> SynthId:
    keys = found["keys"]
    if not isinstance(keys, Sequence) or not keys or any(type(key) is not int for key in keys):
        raise WorkError(f"{KEY}: keys must be whole numbers, not {keys!r}", where=WHERE)
    plain = SynthId((1,))
    length = count(found, "ngram_len", plain.ngram_len)
    if length < 2:
        raise WorkError(f"{KEY}: ngram_len must be 2 or more", where=WHERE)
    return SynthId(
        tuple(keys),
        ngram_len=length,
        context_history_size=count(found, "context_history_size", plain.context_history_size),
        sampling_table_seed=count(found, "sampling_table_seed"),
        sampling_table_size=count(found, "sampling_table_size", plain.sampling_table_size),
        skip_first_ngram_calls=found.get("skip_first_ngram_calls") is True,
    )
