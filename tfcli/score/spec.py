"""What `tfcli score` takes and gives."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tfcli.errors import hint
from tfcli.evaluate.measure import Measure
from tfcli.metrics.spec import KINDS
from tfcli.recipe.spec import InputPath, OutputPath, Result, Spec

BY_SENTENCES = "rougeLsum"


class ScoreSpec(Spec):
    """Score a file of predictions against references: BLEU, ROUGE, chrF, word error rate."""

    verb: ClassVar[str] = "score"
    positional: ClassVar[tuple[str, ...]] = ("predictions", "references")
    loads_first: ClassVar[bool] = True

    predictions: InputPath = Field(
        description="The predictions: rows (.jsonl, .json, .csv, .parquet, .arrow), or any other "
        "file, of which each line is a text."
    )
    references: InputPath = Field(
        description="What is right, in the same order: rows, or a file with a text a line."
    )
    output: OutputPath | None = Field(
        None, description="The folder for the record of the result and the scores of each text."
    )
    metrics: list[str] = Field(
        ["bleu"], min_length=1, description=f"What is computed: {', '.join(KINDS['texts'])}."
    )
    prediction_column: str = Field(
        "prediction", min_length=1, description="The key of the text in rows of predictions."
    )
    reference_column: str = Field(
        "target", min_length=1, description="The key of the text in rows of references."
    )
    sentence_lines: bool = Field(
        True,
        description="Give each sentence a line of its own for rougeLsum, which compares texts line "
        "by line; no takes the lines that the texts have.",
    )
    normalize: Literal["romanian"] | None = Field(
        None,
        description="What is done to both texts before they are compared. romanian: as for WMT16's "
        "en-ro (Unicode punctuation replaced, Moses's punctuation, no diacritics, Moses's words), "
        "and BLEU is that of these words.",
    )

    @field_validator("metrics")
    @classmethod
    def _are_metrics_of_texts(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in KINDS["texts"]:
                raise ValueError(f"{name!r} is no metric of texts ({hint(name, KINDS['texts'])})")
        return list(dict.fromkeys(names))

    @model_validator(mode="after")
    def _sentences_are_for_one_metric(self) -> Self:
        if "sentence_lines" in self.model_fields_set and BY_SENTENCES not in self.metrics:
            raise ValueError(f"sentence_lines has no effect without {BY_SENTENCES} in metrics")
        return self


class ScoreConditions(BaseModel):
    """All that the figures depend on besides the predictions."""

    model_config = ConfigDict(frozen=True)
    task: Literal["score"] = Field(description="What was done.")
    data_sha256: str = Field(description="The hash of the references' texts.")
    samples: int = Field(description="Pairs of a prediction and its reference.")
    normalizer: str | None = Field(description="What was done to both texts; null for nothing.")
    sentence_lines: bool | None = Field(
        description="Whether sentences were given lines of their own; null without rougeLsum."
    )


class ScoreResult(Result):
    """What the predictions are worth."""

    schema_name: ClassVar[str] = "tfcli.score/1"

    predictions: str = Field(description="The file of predictions.")
    references: str = Field(description="The file of references.")
    conditions: ScoreConditions = Field(description="What the figures depend on.")
    measures: list[Measure] = Field(
        description="The figures, in the order of `metrics`; those of all texts together, such as "
        "BLEU, have no standard error."
    )
    empty: int = Field(description="Predictions with nothing in them; they count as they are.")
