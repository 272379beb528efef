"""`question-answering`: the part of a context that answers a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tfcli.errors import WorkError
from tfcli.models.config import BaseConfig
from tfcli.predict.heads import require_head
from tfcli.predict.options.text import QuestionAnsweringOptions
from tfcli.predict.spans import Span, best_spans
from tfcli.predict.task import Sample
from tfcli.predict.texts import TextTask, longest, text_of
from tfcli.predict.windows import cuts
from tfcli.tokenizers.batch import Batch

USUAL_LENGTH, USUAL_STRIDE = 384, 128
"""Of windows, where nothing is said."""


@dataclass(frozen=True, eq=False)
class _Window:
    """A part of a context.

    Args:
        context: the whole of it.
        allowed (Tensor): bool [s], what an answer may begin and end with.
        offsets: of each token, its first character and the one after its last.
        words: of each token, the characters of its word.
    """

    context: str
    allowed: Tensor
    offsets: Sequence[tuple[int, int]]
    words: Sequence[tuple[int, int] | None]


class QuestionAnswering(TextTask[QuestionAnsweringOptions]):
    """A row has a `question` and a `context`, whose windows are samples of their own."""

    name = "question-answering"
    inputs = ("question", "context")
    options_class = QuestionAnsweringOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, cls.name)

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        question, context = self._question(text_of(row, "question")), text_of(row, "context")
        if not question or not context:
            raise WorkError(f"the {'context' if question else 'question'} is empty")
        last = self.padding_side == "right"  # else the context comes first, as in XLNet
        texts = (question, context) if last else (context, question)
        batch = self.parts.tokenizer.batch(
            [texts[0]], [texts[1]], return_offsets=True, return_word_ids=True
        )
        assert batch.sequence_ids is not None, "they were asked for"
        (sides,), which = batch.sequence_ids, int(last)
        if which not in sides:
            raise WorkError("the context has no tokens")
        first, stop = sides.index(which), len(sides) - sides[::-1].index(which)
        length = self.options.max_seq_len or min(longest(self.parts) or USUAL_LENGTH, USUAL_LENGTH)
        stride = self.options.doc_stride
        stride = min(length // 2, USUAL_STRIDE) if stride is None else stride
        room = length - (len(sides) - (stop - first))
        words = _words(batch, which)
        return [
            self._sample(batch, context, words, [*range(first + begin, first + end)], first, stop)
            for begin, end in cuts(stop - first, room, stride)
        ]

    def _question(self, text: str) -> str:
        """A question without what is past its longest length."""
        batch = self.parts.tokenizer.batch([text], return_offsets=True, add_special_tokens=False)
        assert batch.offsets is not None, "they were asked for"
        offsets = batch.offsets[0][: self.options.max_question_len]
        return text[: offsets[-1][1]] if len(batch.ids[0]) > len(offsets) else text

    def _sample(
        self,
        batch: Batch,
        context: str,
        words: Sequence[tuple[int, int] | None],
        kept: list[int],
        first: int,
        stop: int,
    ) -> Sample:
        assert batch.offsets is not None, "they were asked for"
        ids = batch.ids[0]
        places = [*range(first), *kept, *range(stop, len(ids))]
        begins = self.parts.tokenizer.special_ids.get("cls_token")
        allowed = [words[at] is not None or ids[at] == begins for at in places]
        inputs = self.model_inputs(
            [ids[at] for at in places], [batch.token_type_ids[0][at] for at in places]
        )
        offsets = [batch.offsets[0][at] for at in places]
        own = [words[at] for at in places]
        return Sample(inputs, _Window(context, torch.tensor(allowed), offsets, own))

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Tensor]) -> Any:
        options, none, found = self.options, float("inf"), []
        for sample, logits in zip(samples, outputs, strict=True):
            length = len(sample.about.allowed)
            own = logits[-length:] if self.padding_side == "left" else logits[:length]
            spans, nothing = best_spans(
                own,
                sample.about.allowed,
                top_k=options.top_k,
                longest=options.max_answer_len,
            )
            none = min(none, nothing)
            found += [self._answer(sample.about, span) for span in spans]
        if options.handle_impossible_answer:
            found.append({"score": none, "start": 0, "end": 0, "answer": ""})
        found = sorted(found, key=lambda each: -each["score"])[: options.top_k]
        return found[0] if len(found) == 1 else found

    def _answer(self, window: _Window, span: Span) -> dict[str, Any]:
        start, end = window.offsets[span.first][0], window.offsets[span.last][1]
        ends = window.words[span.first], window.words[span.last]
        if self.options.align_to_words and ends[0] is not None and ends[1] is not None:
            start, end = ends[0][0], ends[1][1]
        answer = window.context[start:end]
        return {"score": span.score, "start": start, "end": end, "answer": answer}


def _words(batch: Batch, which: int) -> list[tuple[int, int] | None]:
    """Of each token of a pair the characters of its word, None of those outside of one text."""
    assert batch.offsets is not None and batch.word_ids is not None
    assert batch.sequence_ids is not None, "they were asked for"
    sides, numbers = batch.sequence_ids[0], batch.word_ids[0]
    bounds: dict[int | None, tuple[int, int]] = {}
    for side, word, (start, end) in zip(sides, numbers, batch.offsets[0], strict=True):
        if side == which:
            bounds[word] = (bounds.get(word, (start, end))[0], end)
    return [
        bounds[word] if side == which else None for side, word in zip(sides, numbers, strict=True)
    ]
