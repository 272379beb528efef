"""`token-classification`: a label for each token, or entities made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tfcli.errors import WorkError
from tfcli.models.config import BaseConfig
from tfcli.predict.entities import Piece, grouped, labelled, without_overlaps, words_of
from tfcli.predict.heads import require_head
from tfcli.predict.options.text import TokenClassificationOptions
from tfcli.predict.task import Sample
from tfcli.predict.texts import TextTask, longest, text_of
from tfcli.predict.windows import cuts


@dataclass(frozen=True)
class _Token:
    """A token of a window: its id, its characters, and its place there."""

    id: int
    start: int
    end: int
    index: int


@dataclass(frozen=True)
class _Window:
    """The text of the row, and the tokens of it that a sample has."""

    text: str
    tokens: Sequence[_Token]


class TokenClassification(TextTask[TokenClassificationOptions]):
    """A row has a `text`, or with `is_split_into_words` a list of words. Windows of a long text are
    samples of their own; what they have in common is taken once."""

    name = "token-classification"
    inputs = ("text",)
    options_class = TokenClassificationOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, cls.name)

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        words = self._words(row) if self.options.is_split_into_words else None
        text = text_of(row, "text") if words is None else self.options.delimiter.join(words)
        batch = self.parts.tokenizer.batch(
            [text if words is None else words],
            is_split_into_words=words is not None,
            return_offsets=True,
            return_word_ids=True,
        )
        assert batch.offsets is not None and batch.word_ids is not None
        assert batch.sequence_ids is not None, "they were asked for"
        ids, offsets, texts = batch.ids[0], batch.offsets[0], batch.sequence_ids[0]
        if 0 not in texts:
            raise WorkError("the text has no tokens")
        starts = self._starts(words)
        places = [
            (start + starts[word], end + starts[word])
            if words is not None and word is not None
            else (start, end)
            for (start, end), word in zip(offsets, batch.word_ids[0], strict=True)
        ]
        first, stop = texts.index(0), len(texts) - texts[::-1].index(0)
        count = stop - first
        room = (longest(self.parts) or len(ids)) - (len(ids) - count)
        stride = self.options.stride
        windows = [(0, min(count, room))] if stride is None else list(cuts(count, room, stride))
        samples = []
        for begin, end in windows:
            kept = [*range(first), *range(first + begin, first + end), *range(stop, len(ids))]
            tokens = [
                _Token(ids[at], places[at][0], places[at][1], index)
                for index, at in enumerate(kept)
                if texts[at] == 0
            ]
            types = [batch.token_type_ids[0][at] for at in kept]
            inputs = self.model_inputs([ids[at] for at in kept], types)
            samples.append(Sample(inputs, _Window(text, tokens)))
        return samples

    def _words(self, row: Mapping[str, Any]) -> list[str]:
        words = row["text"]
        if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
            raise WorkError("'text' is no list of words, as is_split_into_words says")
        return words

    def _starts(self, words: Sequence[str] | None) -> list[int]:
        """The first character of each word in the text that they are joined to."""
        starts, at = [], 0
        for word in words or ():
            starts.append(at)
            at += len(word) + len(self.options.delimiter)
        return starts

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Tensor]) -> Any:
        found = []
        for sample, logits in zip(samples, outputs, strict=True):
            found += self._entities(sample, logits.softmax(-1))
        return without_overlaps(found) if len(samples) > 1 else found

    def _entities(self, sample: Sample, scores: Tensor) -> list[dict[str, Any]]:
        length = len(sample.inputs["input_ids"])
        shift = len(scores) - length if self.padding_side == "left" else 0
        text, strategy = sample.about.text, self.options.aggregation_strategy
        pieces = [
            self._piece(token, text, scores[shift + token.index]) for token in sample.about.tokens
        ]
        if strategy not in ("none", "simple"):
            pieces = words_of(pieces, strategy, self._join)
        entities = labelled(pieces, self.parts.labels)
        if strategy != "none":
            entities = grouped(entities, self._join)
        left_out = self.options.ignore_labels
        return [
            each
            for each in entities
            if each.get("entity") not in left_out and each.get("entity_group") not in left_out
        ]

    def _piece(self, token: _Token, text: str, scores: Tensor) -> Piece:
        tokenizer = self.parts.tokenizer
        name = str(tokenizer.backend.id_to_token(token.id))
        said = text[token.start : token.end]
        if getattr(tokenizer.backend.model, "continuing_subword_prefix", None):
            continues = len(name) != len(said)
        else:  # such a vocabulary does not say which tokens go on with a word
            around = text[max(token.start - 1, 0) : token.start + 1]
            continues = token.start > 0 and " " not in around
        if token.id == tokenizer.special_ids.get("unk_token"):
            name, continues = said, False
        return Piece(name, scores, token.start, token.end, token.index, continues)

    def _join(self, tokens: Sequence[str]) -> str:
        decoder = self.parts.tokenizer.backend.decoder
        return " ".join(tokens) if decoder is None else decoder.decode(list(tokens))
