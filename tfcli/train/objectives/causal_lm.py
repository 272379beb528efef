"""Predict each next token."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from tfcli.data.supervised import Encoder
from tfcli.errors import UsageError
from tfcli.train.batch import Example
from tfcli.train.feeds.held_out import held_out
from tfcli.train.feeds.row_data import RowData, choose, find_rows, samples_of
from tfcli.train.feeds.rows import PackedSource, RowSource, Samples
from tfcli.train.feeds.text import read_text
from tfcli.train.feeds.windows import StreamSource, Windows
from tfcli.train.objectives.objective import Examples, Material, TokenObjective
from tfcli.train.spec import TrainSpec
from tfcli.units import plural


class CausalLM(TokenObjective):
    """Examples have `input_ids` and `targets`, the token that follows each, -100 where nothing is
    to be learned. All logits are never in memory at once."""

    task: ClassVar[str] = "causal-lm"
    targets: ClassVar[str] = "targets"
    options: ClassVar[dict[str, Any]] = {"return_logits": False}

    def __init__(self, length: int | None = None) -> None:
        # No token sees what stands after it, so it does not matter what rows are filled up with.
        super().__init__({"input_ids": 0, "segment_ids": -1}, length)

    def feed(self, material: Material) -> Examples:
        """Windows of plain texts; of other rows one example a row, or several packed into one."""
        rows = find_rows(material.spec, material.spec.data)
        return self._windows(material) if rows is None else self._rows(material, rows)

    def widest(self, spec: TrainSpec) -> Example:
        """A window, or a row without padding; of packed rows, all are one."""
        ids = torch.zeros(spec.sequence_length, dtype=torch.long)
        example = {"input_ids": ids, self.targets: ids}
        return {**example, "segment_ids": ids} if spec.rows.packing else example

    def _windows(self, material: Material) -> Examples:
        spec = material.spec
        text = read_text(spec, material.tokenizer, material.console)
        apart = text.validation
        return Examples(
            StreamSource(text.stream, spec.sequence_length, spec.seed),
            None if apart is None else Windows.cut(apart, spec.sequence_length),
        )

    def _rows(self, material: Material, rows: RowData) -> Examples:
        spec = material.spec
        if spec.bpe_dropout:
            raise UsageError(
                "rows are tokenized once, and bpe_dropout would do it anew in each epoch",
                where="bpe_dropout",
                fix="leave it out",
            )
        if not spec.compile:
            self.length = None  # rows differ in length; a compiled model wants one shape
        encoder = Encoder(material.tokenizer, material.companions, spec.rows.train_on)
        train, apart = _samples(material, rows, encoder, "data"), None
        if spec.validation_share is not None:
            out = held_out(train.store.keys[train.which], spec.validation_share)
            train, apart = train.taking(np.flatnonzero(~out)), train.taking(np.flatnonzero(out))
            material.console.note(f"{plural(len(apart), 'row')} held out for validation")
        if spec.validation is not None:
            found = find_rows(spec, spec.validation, "validation")
            if found is None:
                raise UsageError(
                    "the data has rows, and the validation is plain text", where="validation"
                )
            apart = _samples(material, found, encoder, "validation")
            _warn_of_both(material, train, apart)
        if spec.rows.packing:
            return Examples(PackedSource(train, spec.seed), apart)
        together = spec.batch_size if spec.rows.group_by_length else None
        return Examples(RowSource(train, spec.seed, together), apart)


def _samples(material: Material, rows: RowData, encoder: Encoder, key: str) -> Samples:
    spec, console = material.spec, material.console
    store = samples_of(rows, encoder, console)
    return choose(store, rows, spec.sequence_length, spec.rows, console, key).samples


def _warn_of_both(material: Material, train: Samples, apart: Samples) -> None:
    keys = (each.store.keys[each.which] for each in (apart, train))
    both = int(np.isin(*keys).sum())
    if both:
        material.console.warn(f"{both:,} of the validation rows are trained on as well")
