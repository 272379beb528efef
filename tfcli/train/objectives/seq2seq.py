"""Write one text from another, with an encoder-decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tfcli.errors import UsageError, WorkError
from tfcli.generation.strategies.settings import BeamSettings
from tfcli.models.losses import IGNORED
from tfcli.tokenizers.load import Tokenizer, load_tokenizer
from tfcli.train.batch import Batch, Example
from tfcli.train.feeds.columns import Table, examples_of
from tfcli.train.feeds.encoded import encode, filling, inputs_of
from tfcli.train.measures.choose import chosen
from tfcli.train.measures.measure import Measure
from tfcli.train.measures.spec import GenerationSection
from tfcli.train.measures.texts import TextMeasure
from tfcli.train.objectives.objective import (
    Examples,
    Forward,
    Material,
    TokenObjective,
    with_backbones_part,
)
from tfcli.train.spec import TrainSpec


class Seq2Seq(TokenObjective):
    """Examples have a source's inputs and `labels` [s], the target with the token that ends it.

    The decoder sees the target as its family shifts it. All logits are never in memory at once,
    but with label smoothing.

    Args:
        smoothing: the share of each target's probability that is spread evenly over all tokens
            while training (Szegedy et al. 2016).
    """

    task: ClassVar[str] = "seq2seq-lm"
    options: ClassVar[dict[str, Any]] = {"return_logits": False}

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__({})
        self.smoothing = smoothing
        self.held: tuple[Sequence[str], Tokenizer] | None = None

    def feed(self, material: Material) -> Examples:
        """Rows of sources with targets."""
        self.fill = {self.targets: IGNORED, **filling(material.tokenizer)}
        if material.spec.config is not None:
            self.config_keys = begins(material)
        _check_length(material)
        # Some tokenizers cut a translation otherwise than what is translated.
        path = material.spec.tokenizer or material.companions
        tokenizer = load_tokenizer(path, target=True)
        return examples_of(material.spec, lambda table: self._examples(material, table, tokenizer))

    def _examples(self, material: Material, table: Table, tokenizer: Tokenizer) -> list[Example]:
        spec = material.spec
        sources = [spec.source_prefix + text for text in table.texts("source")]
        inputs = inputs_of(material, encode(material, table, sources))
        targets = target_ids(material, table, tokenizer)
        self.held = table.texts("target"), tokenizer  # the validation comes last
        rows = zip(inputs, targets, strict=True)
        return [{**row, self.targets: torch.tensor(target)} for row, target in rows]

    def measure(self, asked: Sequence[str] | None, material: Material) -> Measure | None:
        """Of texts that are made; none where none is asked for, since that takes long."""
        names = chosen(asked, "texts", (), material.console)
        if not names:
            return None
        assert self.held is not None, "`feed` has seen the rows"
        spec, made = material.spec, material.spec.generation
        length = made.max_new_tokens or spec.target_length or spec.sequence_length
        return TextMeasure(names, *self.held, length, made.max_examples, _beams(made))

    def lengths(self, examples: Sequence[Example]) -> np.ndarray:
        """[n, 2] the source's and the target's."""
        pairs = [(len(each["input_ids"]), len(each[self.targets])) for each in examples]
        return np.array(pairs, np.int64).reshape(-1, 2)

    def widest(self, spec: TrainSpec) -> Example:
        """With the longest target too."""
        length = spec.target_length or spec.sequence_length
        return {**super().widest(spec), self.targets: torch.zeros(length, dtype=torch.long)}

    def loss(self, model: Forward, batch: Batch) -> Tensor:
        """Cross entropy, summed over the tokens of the targets; smoothed while training alone."""
        if not self.smoothing or not torch.is_grad_enabled():
            return super().loss(model, batch)
        output = model(**batch)
        assert output.logits is not None, "they were asked for"
        summed = F.cross_entropy(
            output.logits.flatten(0, -2).float(),
            batch[self.targets].flatten(),
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.smoothing,
        )
        return with_backbones_part(summed, output, self.count(batch))


def target_ids(material: Material, table: Table, tokenizer: Tokenizer) -> Sequence[list[int]]:
    """The ids of targets, each with the token that ends a text, cut aloud to `target_length`."""
    spec, end = material.spec, tokenizer.eos_id
    ends = end is not None and end not in tokenizer.suffix
    length = spec.target_length or spec.sequence_length
    batch = encode(
        material,
        table,
        table.texts("target"),
        tokenizer=tokenizer,
        key="target_length" if spec.target_length else "sequence_length",
        length=length - ends,
    )
    return [[*ids, end] if ends and end is not None else ids for ids in batch.ids]


def begins(material: Material) -> dict[str, int]:
    """What a new model's config says of padding, and of the token that begins a target, where the
    recipe leaves it open: as in T5, padding begins one."""
    tokenizer, given = material.tokenizer, material.spec.config or {}
    pad = given.get("pad_token_id", tokenizer.pad_id)
    if pad is None:
        pad = tokenizer.eos_id
    if pad is None:
        raise WorkError(
            "the tokenizer has neither a token that fills up nor one that ends a text, and a "
            "target begins with one of them",
            where="tokenizer",
            fix="give pad_token_id and decoder_start_token_id in config",
        )
    return {
        "pad_token_id": pad,
        "decoder_start_token_id": given.get("decoder_start_token_id", pad),
    }


def _beams(made: GenerationSection) -> BeamSettings | None:
    """How beams of a validation's texts are kept; None where none are asked for."""
    if made.num_beams is None:
        return None
    return BeamSettings(
        made.num_beams,
        length_penalty=made.length_penalty,
        early_stopping=made.early_stopping,
    )


def _check_length(material: Material) -> None:
    asked, longest = material.spec.target_length, material.config.text.longest_input
    if asked is not None and asked > longest:
        raise UsageError(
            f"target_length is {asked}, the model has {longest} positions",
            where="target_length",
            fix=f"at most {longest}",
        )
