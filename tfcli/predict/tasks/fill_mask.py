"""`fill-mask`: the words that may stand for a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tfcli.errors import UsageError, WorkError
from tfcli.models.config import BaseConfig
from tfcli.predict.heads import require_head
from tfcli.predict.options.text import FillMaskOptions
from tfcli.predict.task import Sample, require_finite
from tfcli.predict.texts import TextTask, text_of
from tfcli.tokenizers.mask import mask_id


class FillMask(TextTask[FillMaskOptions]):
    """A row has a `text` with the tokenizer's mask in it. Several masks are filled one by one, each
    with the others hidden: their answers are a list of lists."""

    name = "fill-mask"
    inputs = ("text",)
    options_class = FillMaskOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, "masked-lm")

    def prepare(self) -> None:
        self.mask = mask_id(self.parts.tokenizer, "model")
        targets = self.options.targets
        self.targets = None if targets is None else self._targets(targets)

    def _targets(self, words: Sequence[str]) -> list[int]:
        """The ids of words; of one that is no token, its first token's."""
        tokenizer, found = self.parts.tokenizer, []
        for word in words:
            known = tokenizer.backend.token_to_id(word)
            if known is None:
                ids = tokenizer.encode(word, add_special_tokens=False)
                if not ids:
                    raise UsageError(f"{word!r} has no tokens", where="options.targets")
                known = ids[0]
                self.parts.console.warn(
                    f"{word!r} is no token of the vocabulary: "
                    f"{tokenizer.backend.id_to_token(known)!r} is taken in its place"
                )
            found.append(known)
        return sorted(set(found))

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        batch = self.encode(text_of(row, "text"))
        ids = batch.ids[0]
        masks = [place for place, id in enumerate(ids) if id == self.mask]
        if not masks:
            token = self.parts.tokenizer.backend.id_to_token(self.mask)
            raise WorkError(f"the text has no {token}", fix=f"put {token} where a word is wanted")
        return [Sample(self.text_inputs(batch), (ids, masks))]

    def forward(self, batch: dict[str, Tensor]) -> Sequence[Tensor]:
        """The logits of the masks of each text, [masks, vocab]."""
        logits = self.parts.model(**batch).logits
        assert isinstance(logits, Tensor), "its head has them"
        masks = batch["input_ids"] == self.mask
        found = require_finite(logits[masks].float().cpu(), self.parts.name)
        return found.split(masks.sum(-1).tolist())

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Tensor]) -> Any:
        ids, masks = samples[0].about
        chances = outputs[0].softmax(-1)
        if self.targets is not None:
            chances = chances[:, self.targets]
        best = chances.topk(min(self.options.top_k, chances.shape[-1]))
        found = [
            [
                self._filled(
                    ids, place, id if self.targets is None else self.targets[id], score, masks
                )
                for score, id in zip(scores, numbers, strict=True)
            ]
            for place, scores, numbers in zip(
                masks, best.values.tolist(), best.indices.tolist(), strict=True
            )
        ]
        return found[0] if len(masks) == 1 else found

    def _filled(
        self, ids: Sequence[int], place: int, id: int, score: float, masks: Sequence[int]
    ) -> dict[str, Any]:
        tokenizer = self.parts.tokenizer
        pad = tokenizer.pad_id
        filled = [id if at == place else old for at, old in enumerate(ids)]
        filled = [each for each in filled if each != pad]
        return {
            "score": score,
            "token": id,
            "token_str": tokenizer.decode([id], skip_special_tokens=False),
            # With one mask left, special tokens say nothing; with several they show the others.
            "sequence": tokenizer.decode(filled, skip_special_tokens=len(masks) == 1),
        }
