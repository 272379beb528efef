"""Predict each next token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from tfcli.data.media import blank_image
from tfcli.data.media_supervised import MediaEncoder
from tfcli.data.supervised import Encoder
from tfcli.errors import UsageError
from tfcli.models.config import BaseConfig
from tfcli.models.registry import get_family
from tfcli.processors.joint import JointProcessor
from tfcli.processors.load import load_processor
from tfcli.train.batch import Batch, Example
from tfcli.train.feeds.causal import causal_examples
from tfcli.train.feeds.media import MediaExample, like, media_of
from tfcli.train.objectives.objective import (
    Examples,
    Material,
    Shown,
    TokenObjective,
    shown_next,
)
from tfcli.train.spec import TrainSpec

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
        if not material.spec.compile:
            self.length = None  # examples differ in length; a compiled model wants one shape
        found = causal_examples(material, self._encoder)
        self.spare = found.spare
        return found

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

    def widest(self, spec: TrainSpec) -> Example:
        """A window, or a row without padding; of packed rows, all are one."""
        ids = torch.zeros(spec.sequence_length, dtype=torch.long)
        example = {"input_ids": ids, self.targets: ids}
        return {**example, "segment_ids": ids} if spec.rows.packing else example

    def widest_batch(self, material: Material) -> Batch:
        """With an image in each row, where the model looks at images and a row holds one."""
        if self.task_of(material.config) != LOOKS:
            return super().widest_batch(material)
        self._encoder(material)
        assert self.media is not None, "the model looks at media"
        example = self.widest(material.spec)
        ids = torch.full_like(example["input_ids"], self.fill["input_ids"])
        example, media = {**example, "input_ids": ids}, []
        if "image" in self.media.processor.kinds:
            image = blank_image()
            run = self.media.ids_of_medium(image.opened())
            if len(run) <= len(ids):
                ids[: len(run)], media = torch.tensor(run), [image]
        row = MediaExample(example, media, "a row with a blank image")
        return self.collate([row] * material.spec.batch_size)

    def _encoder(self, material: Material) -> Encoder:
        """What makes ids of rows; of a model that looks at media, with its processor."""
        if self.media is not None:
            return self.media
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
