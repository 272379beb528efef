"""Options of tasks of classifiers and encoders of text."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tfcli.predict.options.shared import LabelOptions, Options, TextOptions
from tfcli.recipe.marks import Only

Function = Literal["sigmoid", "softmax", "none"]


class ScoreOptions(Options):
    """Of tasks that give labels with scores."""

    top_k: int | None = Field(
        1, ge=1, description="How many of the best labels are given; null: all, as a list."
    )
    function_to_apply: Function | None = Field(
        None,
        description="What makes scores of logits. Left out, none for a regression, sigmoid for "
        "several labels at once or a single one, softmax for the rest.",
    )


class TextClassificationOptions(TextOptions, ScoreOptions):
    """Of `text-classification`."""


class ZeroShotOptions(LabelOptions, TextOptions):
    """Of `zero-shot-classification`."""

    hypothesis_template: str = Field(
        "This example is {}.", description="The sentence that claims a label; {} stands for it."
    )
    multi_label: bool = Field(
        False, description="Several labels can hold: each has a score of its own."
    )
    truncation: bool = Field(True, description="Cut texts that are longer than max_length.")


class TokenClassificationOptions(Options):
    """Of `token-classification`."""

    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] = Field(
        "none",
        description="How tokens become entities: none gives each token, simple joins neighbours of "
        "one tag; first, average and max give each word one tag before.",
    )
    ignore_labels: list[str] = Field(["O"], description="Labels that are left out.")
    stride: Annotated[
        int | None, Only(aggregation_strategy=("simple", "first", "average", "max"))
    ] = Field(
        None,
        ge=0,
        description="Tokens that a window of a long text has in common with the next one. Left "
        "out, a text is cut at the model's length.",
    )
    is_split_into_words: bool = Field(False, description="A row has a list of words.")
    delimiter: Annotated[str, Only(is_split_into_words=(True,))] = Field(
        " ", description="What stands between words, for the characters that start and end name."
    )


class QuestionAnsweringOptions(Options):
    """Of `question-answering`."""

    top_k: int = Field(1, ge=1, description="How many answers are given; above 1, as a list.")
    doc_stride: int | None = Field(
        None,
        ge=0,
        description="Tokens of the context that a window has in common with the next one. Left "
        "out, 128 or half of max_seq_len.",
    )
    max_answer_len: int = Field(15, ge=1, description="Tokens of an answer at most.")
    max_seq_len: int | None = Field(
        None, ge=1, description="Tokens of a window with its question. Left out, 384 at most."
    )
    max_question_len: int = Field(
        64, ge=1, description="Tokens of a question at most; what is longer is cut."
    )
    handle_impossible_answer: bool = Field(
        False, description="An empty text can be the answer: that there is none."
    )
    align_to_words: bool = Field(
        True, description="An answer begins and ends with a word, as the tokenizer splits texts."
    )


class TableQuestionAnsweringOptions(Options):
    """Of `table-question-answering`."""

    truncation: bool = Field(True, description="Leave out rows of a table that is too large.")
    max_length: int | None = Field(
        None, ge=1, description="The most tokens of a question with its table."
    )
    sequential: bool = Field(
        False,
        description="A row's questions follow one another: each is read with the answer to the one "
        "before.",
    )


class FillMaskOptions(TextOptions):
    """Of `fill-mask`."""

    top_k: int = Field(5, ge=1, description="How many words are given for each mask.")
    targets: list[str] | None = Field(
        None, min_length=1, description="The only words that may stand there."
    )


class FeatureOptions(TextOptions):
    """Of `feature-extraction`."""


class EmbeddingOptions(TextOptions):
    """Of `sentence-embeddings`."""

    pooling: Literal["mean", "cls", "last"] | None = Field(
        None,
        description="How the tokens' states become one vector. Left out, as the files of "
        "sentence-transformers beside the weights say, else mean.",
    )
    normalize: bool | None = Field(
        None, description="Give each vector the length 1. Left out, as these files say, else yes."
    )
    truncation: bool = Field(True, description="Cut texts that are longer than max_length.")


class MultipleChoiceOptions(TextOptions):
    """Of `multiple-choice`."""

    top_k: int | None = Field(
        1, ge=1, description="How many of the best choices are given; null: all, as a list."
    )


class RerankOptions(TextOptions):
    """Of `rerank`."""

    top_k: int | None = Field(
        None, ge=1, description="How many of the best documents are given; null: all."
    )
    function_to_apply: Function | None = Field(
        None, description="What makes a score of a logit. Left out, sigmoid."
    )
    truncation: bool = Field(True, description="Cut texts that are longer than max_length.")
