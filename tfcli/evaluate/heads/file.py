"""The keys of a task's file whose answers `tfcli predict` gives: labels, entities, vectors, words.

task: reviews
output_type: text-classification
dataset_path: json
dataset_kwargs: {data_files: {test: reviews.jsonl}}
test_split: test
columns: {text: review}
gold: stars
metric_list: [{metric: acc}, {metric: f1_macro}]
"""

from __future__ import annotations

from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from tfcli.evaluate.tasks.keys import CommonKeys

Output = Literal[
    "text-classification",
    "image-classification",
    "audio-classification",
    "token-classification",
    "question-answering",
    "sts",
    "retrieval",
    "visual-question-answering",
    "automatic-speech-recognition",
]
OUTPUTS: tuple[str, ...] = get_args(Output)
CLASSIFIERS = ("text-classification", "image-classification", "audio-classification")
WITH_MEDIA = (
    "image-classification",
    "audio-classification",
    "visual-question-answering",
    "automatic-speech-recognition",
)
"""Those whose rows name images or recordings."""
_ONLY = {
    "labels": (*CLASSIFIERS, "token-classification"),
    "threshold": CLASSIFIERS,
    "corpus_split": ("retrieval",),
    "relevance_split": ("retrieval",),
}
"""Keys that only tasks of some outputs look at."""


class HeadFile(CommonKeys):
    """A task of a model with a head.

    Args:
        output_type: what the model is asked for.
        gold: the column with what is right. Of a search it may be left out beside
            `relevance_split`.
        columns: what is asked -> the column that it stands in, where that has another name.
        options: of the task of `tfcli predict`, as docs/predict.md lists them.
        labels: the label of the model that a gold means: names by number, or by what the data say.
            None: the data have the model's own names or numbers.
        threshold: the probability above which a label holds, where a sample may have several.
        corpus_split: of a search, the split with the documents.
        relevance_split: of a search, the split that says which documents answer which query.
    """

    output_type: Output
    gold: str | None = None
    columns: dict[str, str] = Field({})
    options: dict[str, Any] = Field({})
    labels: list[str] | dict[str, str] | None = None
    threshold: float = Field(0.5, gt=0, lt=1)
    corpus_split: str | None = None
    relevance_split: str | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for key, outputs in _ONLY.items():
            if key in self.model_fields_set and self.output_type not in outputs:
                raise ValueError(f"{key} has no effect with output_type: {self.output_type}")
        if self.output_type == "retrieval":
            if self.corpus_split is None:
                raise ValueError("a search needs corpus_split, the split with the documents")
            if (self.gold is None) == (self.relevance_split is None):
                raise ValueError(
                    "either gold names the column with the ids of right documents, or "
                    "relevance_split the split that has them"
                )
        elif self.gold is None:
            raise ValueError("gold names the column with what is right, and is not there")
        return self
