"""Predict each next token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from tfcli.data.media_supervised import MediaEncoder
from tfcli.data.supervised import Encoder
from tfcli.errors import UsageError
from tfcli.models.config import BaseConfig
from tfcli.models.registry import get_family
from tfcli.processors.joint import JointProcessor
from tfcli.processors.load import load_processor
from tfcli.train.batch import Batch, Example
from tfcli.train.feeds.held_out import held_out
from tfcli.train.feeds.media import MediaExample, like, media_of
from tfcli.train.feeds.row_data import RowData, choose, find_rows, samples_of
from tfcli.train.feeds.rows import PackedSource, RowSource, Samples
from tfcli.train.feeds.text import read_text
from tfcli.train.feeds.windows import StreamSource, Windows
from tfcli.train.objectives.objective import (
    Examples,
    Material,
    Shown,
    TokenObjective,
    shown_next,
)
from tfcli.units import plural

LOOKS = "image-text-to-text"
"""The task of models that read texts with media among their tokens."""


class CausalLM(TokenObjective):
    """Examples have `input_ids` and `targets`, the token that follows each, -100 where nothing is
    to be learned. All logits are never in memory at once."""

    task: ClassVar[str] = "causal-lm"
    targets: ClassVar[str] = "targets"
    options: ClassVar[dict[str, Any]] = {"return_logits": False}

    def __init__(self, length: int | None = None) -> None:
        # No token sees what stands after it, so it does not matter what rows are filled up with.
        super().__init__({"input_ids": 0, "segment_ids": -1}, length)
        self.media: MediaEncoder | None = None
        # A row with media and nothing to learn. It joins batches without any, so that all processes
        # run the same modules in every pass: weights that they share are gathered together.
        self.spare: Example | None = None

    def task_of(self, config: BaseConfig) -> str:
        """That of models that look at media, where the model does."""
        return LOOKS if LOOKS in get_family(config.model_type).heads else self.task

    def feed(self, material: Material) -> Examples:
        """Windows of plain texts; of other rows one example a row, or several packed into one."""
        rows = find_rows(material.spec, material.spec.data)
        return self._windows(material) if rows is None else self._rows(material, rows)

    def shown(self, example: Example) -> Sequence[Shown]:
        """Its window or rows."""
        ids, targets = example["input_ids"], example[self.targets]
        segments = example.get("segment_ids", torch.zeros_like(ids))
        each = segments.unique().tolist()
        return [shown_next(ids[segments == one], targets[segments == one]) for one in each]

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A batch of examples, filled up at their ends, with what is made of their media."""
        if self.media is None:
            return super().collate(examples)
        if self.spare is not None and not any(isinstance(each, MediaExample) for each in examples):
            examples = [*examples, like(self.spare, examples[0])]
        batch = super().collate(examples)
        return {**batch, **self.media.inputs_of(media_of(examples), batch["input_ids"])}

    def _encoder(self, material: Material) -> Encoder:
        """What makes ids of rows; of a model that looks at media, with its processor."""
        train_on = material.spec.rows.train_on
        if self.task_of(material.config) != LOOKS:
            return Encoder(material.tokenizer, material.companions, train_on)
        processor = load_processor(material.companions)
        if not isinstance(processor, JointProcessor):
            raise UsageError(
                "the model has no processor for media beside its weights",
                where="model",
                fix="add its preprocessor_config.json or processor_config.json",
            )
        self.media = MediaEncoder(processor, material.config, material.companions, train_on)
        # An id that stands for a feature would want one.
        ids = (material.tokenizer.pad_id, *range(len(processor.run_ids) + 1))
        fill = next(id for id in ids if id is not None and id not in processor.run_ids)
        self.fill = {**self.fill, "input_ids": fill}
        return self.media

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
        if spec.fim.rate:
            raise UsageError(
                "rows have no middle that could be put last; plain texts have",
                where="fim",
                fix="leave it out, or name the text's column in text_field",
            )
        if not spec.compile:
            self.length = None  # rows differ in length; a compiled model wants one shape
        encoder = self._encoder(material)
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
        looking = train.store.media[train.which] > 0
        if looking.any():
            shortest = np.where(looking, train.sizes, train.sizes.max() + 1).argmin()
            self.spare = train[int(shortest)]
        held = self.spare is None and (apart is None or not apart.store.media.any())
        if spec.rows.packing:
            return Examples(PackedSource(train, spec.seed), apart, held)
        together = spec.batch_size if spec.rows.group_by_length else None
        return Examples(RowSource(train, spec.seed, together), apart, held)


def _samples(material: Material, rows: RowData, encoder: Encoder, key: str) -> Samples:
    spec, console = material.spec, material.console
    store = samples_of(rows, encoder, console)
    return choose(store, rows, spec.sequence_length, spec.rows, console, key).samples


def _warn_of_both(material: Material, train: Samples, apart: Samples) -> None:
    keys = (each.store.keys[each.which] for each in (apart, train))
    both = int(np.isin(*keys).sum())
    if both:
        material.console.warn(f"{both:,} of the validation rows are trained on as well")
