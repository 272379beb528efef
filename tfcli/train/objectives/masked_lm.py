"""Find hidden tokens from what stands on both sides of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from tfcli.models.losses import IGNORED
from tfcli.tokenizers.mask import mask_id
from tfcli.train.batch import Example
from tfcli.train.feeds.encoded import filling
from tfcli.train.feeds.feed import derive_seed
from tfcli.train.feeds.redrawn import redrawn_examples
from tfcli.train.feeds.rows_of_text import TextRow
from tfcli.train.masks import Masker
from tfcli.train.objectives.objective import Examples, Material, Shown, TokenObjective
from tfcli.train.objectives.spec import MaskingSection


class MaskedLM(TokenObjective):
    """Examples have a row's `input_ids`, some of them hidden, its `attention_mask`, and `labels`
    [s]: the token that was hidden, -100 elsewhere. All logits are never in memory at once.

    What is hidden follows from the seed, the epoch and the row's number, so that a resumed run
    hides what a straight one hides. Of the validation it is always the same.
    """

    task: ClassVar[str] = "masked-lm"
    options: ClassVar[dict[str, Any]] = {"return_logits": False}

    def __init__(self, masking: MaskingSection) -> None:
        super().__init__({})
        self.masking = masking

    def feed(self, material: Material) -> Examples:
        """Rows of the texts, each from one document."""
        spec, tokenizer = material.spec, material.tokenizer
        self.fill = {self.targets: IGNORED, **filling(tokenizer)}
        masker = Masker(
            self.masking.unit,
            self.masking.share,
            mask_id(tokenizer, "tokenizer" if spec.tokenizer else "model"),
            tokenizer.vocab_size,
        )

        def hidden(number: int, row: TextRow, seed: int, epoch: int | str) -> Example:
            return masked(masker, row, derive_seed(seed, "masks", epoch, number))

        nothing = "the text has no tokens that could be hidden"
        return redrawn_examples(material, hidden, length=spec.sequence_length, nothing=nothing)

    def shown(self, example: Example) -> Sequence[Shown]:
        """The row as the model reads it, and which of its tokens are to be found."""
        ids, learned = example["input_ids"].tolist(), example["labels"] != IGNORED
        return [Shown(ids, learned.tolist(), len(ids))]


def masked(masker: Masker, row: TextRow, seed: int) -> Example:
    """A row as an example, with what a seed hides of it."""
    ids, places = masker.hide(row.ids, row.words, seed)
    labels = torch.full((len(ids),), IGNORED)
    labels[places] = torch.tensor([row.ids[place] for place in places])
    found = torch.tensor(ids)
    return {"input_ids": found, "attention_mask": torch.ones_like(found), "labels": labels}
