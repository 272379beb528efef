"""Tasks that write text: prompts to texts, in batches through the loop of `tfcli generate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from tfcli.checkpoints.beside import load_generation_config
from tfcli.errors import WorkError
from tfcli.generation.asked import text_settings
from tfcli.generation.keys import GenerationKeys
from tfcli.generation.media import Prompt
from tfcli.generation.spec import Answer, GenerateSpec
from tfcli.generation.tasks import ANSWERS, read_alone, room_after
from tfcli.generation.writing import Writing
from tfcli.predict.options.writing import WritingOptions
from tfcli.predict.task import Sample
from tfcli.predict.texts import TextTask
from tfcli.tokenizers.fits import check_ids

USUAL_LENGTH = 256
"""New tokens where nothing says how many, as in transformers' pipelines."""
W = TypeVar("W", bound=WritingOptions)


@dataclass(frozen=True, eq=False)
class Asked:
    """A prompt, and how much is written to it.

    Args:
        prompt: what the model reads.
        length: new tokens at most; there is room for them.
        given: what the row has, for the answer.
    """

    prompt: Prompt
    length: int
    given: Any


class WritingTask(TextTask[W]):
    """A task whose model writes text.

    `forward` gives a list of `Answer` for each sample: as many as `num_return_sequences`.
    """

    def prepare(self) -> None:
        given = {
            key: getattr(self.options, key)
            for key in self.options.given & GenerationKeys.model_fields.keys()
        }
        spec = GenerateSpec(model=self.parts.name, prompt="", **given)
        config, parts = self.parts.config.text, self.parts
        self.said = load_generation_config(parts.checkpoint.beside)
        own = self.task_settings()
        if own:
            self.said = {**(self.said or config.extra), **own}
        self.settings = text_settings(spec, self.said, config, parts.tokenizer, parts.console)
        self.kind = parts.model.task

    def task_settings(self) -> Mapping[str, Any]:
        """What the model's config says of the task by its name (`task_specific_params`)."""
        found = self.parts.checkpoint.config.get("task_specific_params")
        own = found.get(self.asked) if isinstance(found, Mapping) else None
        return own if isinstance(own, Mapping) else {}

    def wanted(self, before: int) -> int:
        """New tokens that are asked for.

        Args:
            before: tokens that count for `max_length`: those of the prompt, or the one that a
                decoder begins with.

        Raises:
            WorkError: max_length leaves none.
        """
        new, whole = self.options.max_new_tokens, self.options.max_length
        if new is None and whole is None:
            new, whole = self.said.get("max_new_tokens"), self.said.get("max_length")
        if isinstance(new, int):
            return new
        if not isinstance(whole, int):
            return USUAL_LENGTH
        if whole <= before:
            raise WorkError(
                f"max_length {whole} leaves no room after {before} tokens",
                fix="options.max_new_tokens counts the new ones alone",
            )
        return whole - before

    def asked_of(self, prompt: Prompt, given: Any) -> Sample:
        """A prompt as a sample.

        Raises:
            UsageError: it leaves no room in the model's positions, or is empty.
            WorkError: an id that the model has no embedding for.
        """
        room = room_after(self.kind, prompt.ids, self.parts.config.text)
        check_ids(prompt.ids, self.parts.config, self.parts.name)
        before = 1 if self.kind == ANSWERS else len(prompt.ids)
        length = min(self.wanted(before), room)
        ids = torch.tensor(prompt.ids, dtype=torch.int64)
        return Sample({"input_ids": ids}, Asked(prompt, length, given))

    def together(self, one: Sample, other: Sample) -> bool:
        """Prompts with media are read one by one, as are those that a family reads so."""
        media = one.about.prompt.media or other.about.prompt.media
        return not media and not read_alone(self.parts.config.text)

    def batch(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """The samples: the loop puts prompts side by side."""
        return samples

    def forward(self, batch: Sequence[Sample]) -> Sequence[list[Answer]]:
        """The texts of each prompt."""
        writing = Writing(
            self.parts.model,
            self.parts.tokenizer,
            self.kind,
            self.settings,
            seed=self.options.seed,
        )
        made = writing.answers(
            [sample.about.prompt for sample in batch], [sample.about.length for sample in batch]
        )
        count = self.settings.sequences
        return [made[at : at + count] for at in range(0, len(made), count)]

    def text_of(self, answer: Answer) -> str:
        """The new text by itself, as transformers decodes it; cut before a stop text."""
        if self.settings.stop_strings:
            return answer.text
        return self.parts.tokenizer.decode(answer.token_ids)
