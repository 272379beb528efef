"""Texts that a model makes of sources, beside those that are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tfcli.generation.loop import Decoding, Steps
from tfcli.generation.readers import TargetReader
from tfcli.generation.strategies.beams import Beams
from tfcli.generation.strategies.settings import BeamSettings
from tfcli.metrics.compute import compute
from tfcli.models.heads.seq2seq_lm import Seq2SeqLM
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.tokenizers.load import Tokenizer
from tfcli.train.batch import Batch
from tfcli.train.measures.measure import Measure


class TextMeasure(Measure):
    """Greedy texts, or the best of some beams.

    Args:
        names: of the metrics.
        targets: what is right, of each example of the validation.
        tokenizer: of targets.
        max_new_tokens: of a text.
        max_examples: texts are made for so many of the first examples; None: for all.
        beams: how they are kept; None: the likeliest token is taken each time.
    """

    generates: ClassVar[bool] = True

    def __init__(
        self,
        names: Sequence[str],
        targets: Sequence[str],
        tokenizer: Tokenizer,
        max_new_tokens: int,
        max_examples: int | None = None,
        beams: BeamSettings | None = None,
    ) -> None:
        self.names, self.targets, self.tokenizer = names, targets, tokenizer
        self.max_new_tokens, self.max_examples = max_new_tokens, max_examples
        self.beams = beams

    def answers(
        self, model: Model, batch: Batch, output: ModelOutput, numbers: Sequence[int]
    ) -> Sequence[Any]:
        """The text of each example, and what is right; None past the last that is measured."""
        assert isinstance(model, Seq2SeqLM), "the objective asks for one"
        rows = zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True)
        wanted = [number for number in numbers if self._is_wanted(number)]
        sources = [
            ids[mask].tolist()
            for (ids, mask), number in zip(rows, numbers, strict=True)
            if self._is_wanted(number)
        ]
        if not wanted:
            return [None] * len(numbers)
        texts = self._steps(TargetReader.of_sources(model, sources), len(sources)).texts()
        made = dict(zip(wanted, map(self.tokenizer.decode, texts), strict=True))
        return [(made[n], self.targets[n]) if n in made else None for n in numbers]

    def _steps(self, reader: TargetReader, count: int) -> Steps:
        """The new tokens of so many texts."""
        limits, end = [self.max_new_tokens] * count, self.tokenizer.eos_id
        stop = () if end is None else (end,)
        if self.beams is None:
            return Decoding(reader, max_new_tokens=limits, stop=stop)
        return Beams(reader, max_new_tokens=limits, settings=self.beams, stop=stop)

    def _is_wanted(self, number: int) -> bool:
        return self.max_examples is None or number < self.max_examples

    def figures(self, answers: Sequence[tuple[str, str] | None]) -> Mapping[str, float]:
        """The metrics of all texts."""
        said, right = zip(*(answer for answer in answers if answer is not None), strict=True)
        return compute(self.names, said, right)
