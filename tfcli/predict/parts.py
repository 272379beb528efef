"""What a task works with: a model that is loaded, and what lies beside its weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.console import Console
from tfcli.models.config import BaseConfig
from tfcli.models.model import Model
from tfcli.processors.text import TextSide
from tfcli.tokenizers.fits import check_fits
from tfcli.tokenizers.load import Tokenizer


@dataclass(frozen=True, eq=False)
class Parts:
    """A model and its files.

    Args:
        checkpoint: what the model was loaded from.
        model: with the task's head, in eval mode.
        name: the model as the user named it, for errors.
        console: hears warnings.
    """

    checkpoint: Checkpoint
    model: Model
    name: str
    console: Console = field(default_factory=Console.silent)

    @property
    def config(self) -> BaseConfig:
        """The model's config."""
        return self.model.config

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @cached_property
    def texts(self) -> TextSide:
        """The tokenizer, with the sides and the length that its folder says.

        Raises:
            WorkError: the checkpoint has none, a broken one, or that of another model.
        """
        found = TextSide.from_pretrained(self.checkpoint.beside)
        check_fits(found.tokenizer, self.config.text, self.name)
        return found

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer alone."""
        return self.texts.tokenizer

    @cached_property
    def processor(self) -> Any:
        """What makes inputs of media, or of both.

        Raises:
            WorkError: the checkpoint has none, or a broken one.
        """
        from tfcli.processors.load import load_processor

        return load_processor(self.checkpoint.beside)

    @cached_property
    def images(self) -> Any:
        """What makes inputs of images.

        Raises:
            WorkError: the checkpoint has none, or a broken one.
        """
        from tfcli.processors.load import load_image_processor

        return load_image_processor(self.checkpoint.beside)

    @cached_property
    def labels(self) -> list[str]:
        """The names of a classifier's labels in the order of their numbers."""
        return self.config.label_names
