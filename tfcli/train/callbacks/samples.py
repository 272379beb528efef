"""Texts that a model makes while it learns."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

from tfcli.console import Console, visible
from tfcli.devices import Precision, autocast
from tfcli.errors import UsageError
from tfcli.files import write_text
from tfcli.generation.settings import read_settings
from tfcli.generation.tasks import ANSWERS, CONTINUES, decoding, room_after
from tfcli.models.config import BaseConfig
from tfcli.models.model import Model
from tfcli.tokenizers.load import Tokenizer
from tfcli.train.callbacks.callback import Callback
from tfcli.train.checkpoint import Progress
from tfcli.train.evaluating import evaluating
from tfcli.train.tracking_spec import SamplesSection

FILE = "samples.jsonl"
DUE = "samples"


class Samples(Callback):
    """Continues some texts, each with the likeliest tokens, and keeps what comes.

    All processes make the texts together, as a spread model needs; the first writes them.

    Args:
        section: the texts.
        model: that is trained.
        tokenizer: of the model.
        precision: of its forward passes.
        file: where they are kept; None for all processes but the first.
        console: shows them.
    """

    name: ClassVar[str] = DUE

    def __init__(
        self,
        section: SamplesSection,
        model: Model,
        tokenizer: Tokenizer,
        precision: Precision,
        file: Path | None,
        console: Console,
    ) -> None:
        self.section, self.model, self.tokenizer = section, model, tokenizer
        self.precision, self.file, self.console = precision, file, console

    def begin(self, progress: Progress) -> None:
        """Take back what an interrupted run made at steps that are made again."""
        if self.file is not None and self.file.exists():
            lines = self.file.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if json.loads(line)["step"] <= progress.finished]
            write_text(self.file, "".join(kept))

    def finished(self, figures: Mapping[str, Any], due: Collection[str]) -> None:
        """Make the texts where it is time to."""
        if DUE not in due:
            return
        step = figures["step"]
        texts = [self._continued(prompt) for prompt in self.section.prompts or []]
        if self.file is None:
            return
        with self.file.open("a", encoding="utf-8") as file:
            for prompt, text in zip(self.section.prompts or [], texts, strict=True):
                line = {"step": step, "prompt": prompt, "text": text}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                self.console.note(f"step {step:,}: {visible(prompt)} -> {visible(text.strip())}")

    def _continued(self, prompt: str) -> str:
        config = self.model.config.text
        task = ANSWERS if self.model.task == ANSWERS else CONTINUES
        ids = self.tokenizer.encode(prompt)
        length = min(self.section.max_new_tokens, room_after(task, ids, config))
        with evaluating(self.model), autocast(self.precision, self.model.device.type):
            (made,) = decoding(
                self.model, [ids], max_new_tokens=[length], settings=read_settings({}, config)
            ).texts()
            return self.tokenizer.decode(made)


def require_samples(
    section: SamplesSection,
    task: str,
    config: BaseConfig,
    encode: Callable[[str], list[int]] | None,
) -> None:
    """Refuse texts that the model will not be able to continue, before any work.

    Raises:
        UsageError: a model that writes no texts, or a prompt that is empty or leaves no room.
    """
    if section.prompts is None:
        return
    if encode is None or task not in (ANSWERS, CONTINUES):
        raise UsageError(
            f"a model of the task {task} writes no texts",
            where="samples.prompts",
            fix="leave samples out",
        )
    for prompt in section.prompts:
        room_after(task, encode(prompt), config.text)
