"""`rerank`: documents in the order in which they answer a query, by a cross encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tfcli.errors import UsageError
from tfcli.models.config import BaseConfig
from tfcli.predict.heads import require_head
from tfcli.predict.options.text import RerankOptions
from tfcli.predict.scores import scores_of
from tfcli.predict.task import Sample
from tfcli.predict.tasks.text_classification import HEAD
from tfcli.predict.texts import TextTask, text_of, texts_of


class Rerank(TextTask[RerankOptions]):
    """A row has a `query` and `documents`, samples of their own. The answer is the documents with
    their numbers and scores, the best one first, as sentence-transformers' CrossEncoder ranks."""

    name = "rerank"
    inputs = ("query", "documents")
    options_class = RerankOptions

    @classmethod
    def head(cls, config: BaseConfig) -> str:
        return require_head(config, cls.name, HEAD)

    def prepare(self) -> None:
        count = len(self.parts.labels)
        if count != 1:
            raise UsageError(
                f"the model gives {count} figures for a pair, and documents are ranked by one",
                where="model",
                fix="name a cross encoder with one label",
            )

    def preprocess(self, row: Mapping[str, Any]) -> list[Sample]:
        query = text_of(row, "query")
        samples = []
        for document in texts_of(row, "documents"):
            batch = self.encode(query, document)
            samples.append(Sample(self.text_inputs(batch), document))
        return samples

    def postprocess(self, samples: Sequence[Sample], outputs: Sequence[Tensor]) -> Any:
        scores = scores_of(torch.cat(list(outputs)), self.options.function_to_apply or "sigmoid")
        order = scores.argsort(descending=True, stable=True).tolist()
        return [
            {"corpus_id": place, "score": float(scores[place]), "text": samples[place].about}
            for place in order[: self.options.top_k]
        ]
