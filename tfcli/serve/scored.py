"""A model that makes no text: a vector of one, or a score of two."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.pooling import read_pooling
from tfcli.console import Console
from tfcli.devices import pick_device
from tfcli.errors import UsageError
from tfcli.generation.tasks import TASKS, text_task
from tfcli.models.heads.embedding import Embedding
from tfcli.models.model import Model
from tfcli.models.registry import get_family
from tfcli.ready import load_ready
from tfcli.serve.spec import ServeSpec
from tfcli.tokenizers.fits import check_fits
from tfcli.tokenizers.load import Tokenizer, load_tokenizer

VECTORS, SCORES = "embedding", "sequence-classification"
TOGETHER = 8
"""Texts of one pass."""


@dataclass(frozen=True)
class Scored:
    """A model that reads texts and is asked for numbers. One request is served at a time.

    Args:
        name: that requests say.
        checkpoint: it was loaded from.
        model: with the head of `VECTORS` or `SCORES`, in eval mode.
        tokenizer: of the model.
    """

    name: str
    checkpoint: Checkpoint
    model: Model
    tokenizer: Tokenizer
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def task(self) -> str:
        """What it makes."""
        return str(self.model.task)

    def vectors(self, texts: Sequence[str | Sequence[int]]) -> tuple[Tensor, int]:
        """A vector of each text, [n, d] float32, and how many tokens were read.

        Raises:
            UsageError: a text that is empty or too long.
        """
        whole = [self.tokenizer.encode(x) if isinstance(x, str) else list(x) for x in texts]
        return self._answers(whole)

    def scores(self, query: str, documents: Sequence[str]) -> tuple[Tensor, int]:
        """How well each document goes with a query, [n] float32, and how many tokens were read.

        A cross-encoder of one label reads both together; vectors are compared by their angle.

        Raises:
            UsageError: a model of several labels; a text that is too long.
        """
        if self.task == VECTORS:
            found, read = self.vectors([query, *documents])
            found = torch.nn.functional.normalize(found, dim=-1)
            return found[1:] @ found[0], read
        if self.checkpoint.model_config.num_labels != 1:
            raise UsageError(
                "the model tells several labels apart, and gives no single score", where="model"
            )
        batch = self.tokenizer.batch([query] * len(documents), documents)
        found, read = self._answers(batch.ids, batch.token_type_ids)
        return found[:, 0].sigmoid(), read

    @torch.inference_mode()
    def _answers(
        self, texts: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None
    ) -> tuple[Tensor, int]:
        """What the model says of texts, those of nearly one length together: [n, any] float32."""
        longest = self.checkpoint.model_config.text.longest_input
        for ids in texts:
            if not 0 < len(ids) <= longest:
                raise UsageError(
                    f"a text of {len(ids):,} tokens; the model reads 1 to {longest:,}",
                    where="input",
                    fix="shorten it" if ids else "leave it out",
                )
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        found: list[Tensor | None] = [None] * len(texts)
        with self._lock:
            for first in range(0, len(order), TOGETHER):
                numbers = order[first : first + TOGETHER]
                rows = [texts[number] for number in numbers]
                given = {"input_ids": self._filled(rows), "attention_mask": self._mask(rows)}
                if types is not None and any(map(any, types)):
                    given["token_type_ids"] = self._filled([types[number] for number in numbers])
                answers = self.model(**given).logits.float().cpu()
                for number, answer in zip(numbers, answers, strict=True):
                    found[number] = answer
        whole = [each for each in found if each is not None]
        return torch.stack(whole), sum(map(len, texts))

    def _filled(self, rows: Sequence[Sequence[int]]) -> Tensor:
        fill, longest = self.tokenizer.pad_id or 0, max(map(len, rows))
        return torch.tensor(
            [[*row, *[fill] * (longest - len(row))] for row in rows], device=self.model.device
        )

    def _mask(self, rows: Sequence[Sequence[int]]) -> Tensor:
        longest = max(map(len, rows))
        return torch.tensor(
            [[1] * len(row) + [0] * (longest - len(row)) for row in rows],
            device=self.model.device,
        )

    def close(self) -> None:
        """Nothing is left behind."""


def served_task(checkpoint: Checkpoint) -> str:
    """What a model is served for: scores where it was saved so, vectors where files say how they
    are made or it makes no text, and texts otherwise.

    Raises:
        UsageError: it can be served for none of these.
    """
    saved = str(next(iter(checkpoint.config.get("architectures") or []), ""))
    if saved.endswith("ForSequenceClassification"):
        return SCORES
    if read_pooling(checkpoint.beside) is not None:
        return VECTORS
    heads = get_family(checkpoint.model_config.model_type).heads
    if VECTORS in heads and not any(task in heads for task in TASKS):
        return VECTORS
    return text_task(checkpoint.model_config)


def serve_scored(
    name: str, checkpoint: Checkpoint, task: str, spec: ServeSpec, console: Console
) -> Scored:
    """Load a model that makes no text.

    Raises:
        WorkError: broken files.
    """
    tokenizer = load_tokenizer(checkpoint.beside)
    check_fits(tokenizer, checkpoint.model_config.text, str(checkpoint.path))
    model = load_ready(
        checkpoint,
        console,
        task=task,
        dtype=spec.dtype,
        device=pick_device(spec.device),
        attention=spec.attention,
        many_rows=True,
        keep_packed=spec.load_in is not None,
    )
    pooling = read_pooling(checkpoint.beside)
    if isinstance(model, Embedding) and pooling is not None:
        model.set_pooling(pooling.modes[0] if pooling.modes else "mean", pooling.normalizes)
    return Scored(name, checkpoint, model, tokenizer)
