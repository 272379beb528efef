"""`feature-extraction` and `sentence-embeddings`: texts as vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tfcli.models.config import BaseConfig
from tfcli.models.heads.embedding import Embedding
from tfcli.predict.heads import require_head
from tfcli.predict.options.text import EmbeddingOptions, FeatureOptions
from tfcli.predict.task import Sample, require_finite
from tfcli.predict.texts import TextTask, text_of

HEAD = "embedding"


class FeatureExtraction(TextTask[FeatureOptions]):
    """A row has a `text`. The answer is a vector for each of its tokens, the special ones too, in a
    list for the one text."""

    name = "feature-extraction"
    inputs = ("text",)
    options_class = FeatureOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, HEAD)

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        batch = self.encode(text_of(row, "text"))
        return [Sample(self.text_inputs(batch))]

    def forward(self, batch: dict[str, Tensor]) -> Sequence[Tensor]:
        """The last states of each text, [s, d]."""
        states = self.parts.model(**batch, return_logits=False).last_hidden_state
        assert isinstance(states, Tensor), "without logits a model gives states"
        return require_finite(states.float().cpu(), self.parts.name).unbind(0)

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Tensor]) -> Any:
        length = len(samples[0].inputs["input_ids"])
        states = outputs[0]
        own = states[-length:] if self.padding_side == "left" else states[:length]
        return [own.tolist()]


class SentenceEmbeddings(TextTask[EmbeddingOptions]):
    """A row has a `text`. The answer is one vector."""

    name = "sentence-embeddings"
    inputs = ("text",)
    options_class = EmbeddingOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, HEAD)

    def prepare(self) -> None:
        model, options = self.parts.model, self.options
        assert isinstance(model, Embedding), "the task's head"
        model.set_pooling(
            options.pooling or model.pooling,
            model.normalize if options.normalize is None else options.normalize,
        )

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        batch = self.encode(text_of(row, "text"))
        return [Sample(self.text_inputs(batch))]

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Tensor]) -> Any:
        return outputs[0].tolist()
