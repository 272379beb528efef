"""The keys of `tfcli train` that belong to one objective or a few; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from tfcli.errors import hint
from tfcli.recipe.marks import Above, Also, Only
from tfcli.recipe.spec import ModelRef, Section

ObjectiveName = Literal[
    "causal-lm",
    "contrastive",
    "distillation",
    "dpo",
    "glm",
    "image-classification",
    "ipo",
    "kto",
    "masked-lm",
    "multiple-choice",
    "orpo",
    "question-answering",
    "reward",
    "seq2seq",
    "sequence-classification",
    "simpo",
    "token-classification",
]

ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]

CAUSAL: tuple[ObjectiveName, ...] = ("causal-lm",)
"""The objective of texts and of conversations."""
WINDOWED: tuple[ObjectiveName, ...] = ("causal-lm", "distillation")
"""The objectives whose texts are one stream of tokens in windows."""
PREFERENCES: tuple[ObjectiveName, ...] = ("dpo", "ipo", "orpo", "simpo")
"""The objectives that prefer one answer to another."""
_PAIRS: dict[str, str | None] = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}

COLUMNS: dict[str, dict[str, str | None]] = {
    "sequence-classification": {"text": "text", "text_pair": None, "label": "label"},
    "image-classification": {"image": "image", "label": "label"},
    "contrastive": {"anchor": "anchor", "positive": "positive", "negative": None},
    "multiple-choice": {"question": "question", "choices": "choices", "label": "label"},
    **dict.fromkeys((*PREFERENCES, "reward"), _PAIRS),
    "kto": {"prompt": "prompt", "completion": "completion", "label": "label"},
    "question-answering": {"question": "question", "context": "context", "answers": "answers"},
    "seq2seq": {"source": "source", "target": "target"},
    "token-classification": {"tokens": "tokens", "tags": "tags"},
}
"""Objective -> what it takes of a row -> the column that has it; None: only where a recipe names
one."""
IN_ROWS = tuple(COLUMNS)
"""The objectives whose data are rows of columns."""
LABELLED: tuple[ObjectiveName, ...] = ("sequence-classification", "image-classification")
"""The objectives that label rows."""
WITHOUT_TEXT: tuple[ObjectiveName, ...] = ("image-classification",)
"""The objectives that read no text, and so need no tokenizer."""
WITH_TEXT: tuple[ObjectiveName, ...] = tuple(
    name for name in get_args(ObjectiveName) if name not in WITHOUT_TEXT
)
"""The others."""
IN_TEXTS: tuple[ObjectiveName, ...] = ("causal-lm", "distillation", "glm", "masked-lm")
"""The objectives whose data are texts."""


class MaskingSection(Section):
    """What `objective: masked-lm` hides."""

    unit: Literal["tokens", "words", "spans"] = Field(
        "tokens",
        description="What is hidden at once: single tokens, whole words, or spans of a few words "
        "(SpanBERT).",
    )
    share: float = Field(
        0.15,
        gt=0,
        le=1,
        description="The share of a row's tokens that is to be found: 8 of 10 of them are masked, "
        "1 is some other token, 1 stays.",
    )


class DistillationSection(Section):
    """What `objective: distillation` learns from."""

    stands_for: ClassVar[str | None] = "teacher"

    teacher: ModelRef | None = Field(
        None,
        description="The model whose predictions are learned: one with the same tokenizer, in any "
        "container, or a hub id.",
    )
    temperature: float = Field(
        2.0,
        gt=0,
        description="What the logits of both models are divided by before they are compared.",
    )
    share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="The share of the loss that is the teacher's; the rest is that of the text "
        "itself.",
    )


class KTOSection(Section):
    """How much `objective: kto` makes of answers that were judged one by one."""

    desirable_weight: float = Field(
        1.0,
        gt=0,
        description="The weight of losses of desirable answers. Where there are few of them, make "
        "it as large as they are rare.",
    )
    undesirable_weight: float = Field(
        1.0, gt=0, description="The weight of losses of the other answers."
    )


class FIMSection(Section):
    """Documents with their middle put last, which `objective: causal-lm` learns to fill in."""

    rate: float = Field(
        0.0,
        ge=0,
        le=1,
        description="The share of documents whose middle is put last; 0.5 to 0.9 are usual.",
    )
    spm_rate: Annotated[float, Only(rate=Above(0))] = Field(
        0.5,
        ge=0,
        le=1,
        description="The share of these whose end stands before their beginning (SPM); in the "
        "others the beginning is first (PSM).",
    )


class BlanksSection(Section):
    """What `objective: glm` cuts out of texts."""

    span_weight: float = Field(
        0.4, ge=0, description="How often short spans are cut out, beside the other two weights."
    )
    sentence_weight: float = Field(0.3, ge=0, description="How often whole sentences are.")
    generation_weight: float = Field(
        0.3, ge=0, description="How often one long part is, such as the end of a text."
    )
    share: float = Field(
        0.15, gt=0, le=1, description="The share of a text that is cut out in spans or sentences."
    )
    mean_length: Annotated[float, Only(span_weight=Above(0))] = Field(
        3.0, gt=0, description="The mean length of spans, in tokens; it has Poisson's distribution."
    )
    least_share: Annotated[float, Only(generation_weight=Above(0))] = Field(
        0.25, gt=0, le=1, description="The least share of a text that is cut out as one long part."
    )

    @model_validator(mode="after")
    def _share_is_of_something(self) -> Self:
        idle = not (self.span_weight or self.sentence_weight)
        if idle and self.share != type(self).model_fields["share"].default:
            raise ValueError("share has no effect where neither spans nor sentences are cut out")
        return self


class ObjectiveKeys(Section):
    """What belongs to one objective or a few."""

    problem_type: Annotated[ProblemType | None, Only(objective=LABELLED)] = Field(
        None,
        description="What a label is: one of several, a list of several, or a number; left out, as "
        "the data have it.",
    )
    masking: Annotated[MaskingSection, Only(objective=("masked-lm",))] = MaskingSection()
    distillation: Annotated[DistillationSection, Only(objective=("distillation",))] = (
        DistillationSection()
    )
    fim: Annotated[FIMSection, Only(objective=CAUSAL)] = FIMSection()
    blanks: Annotated[BlanksSection, Only(objective=("glm",))] = BlanksSection()
    kto: Annotated[KTOSection, Only(objective=("kto",))] = KTOSection()
    sequence_length: Annotated[int, Also("window"), Only(objective=WITH_TEXT)] = Field(
        256, ge=1, description="Tokens of a training window, or the most of a row."
    )
    target_length: Annotated[int | None, Only(objective=("seq2seq",))] = Field(
        None, ge=2, description="The most tokens of a target; left out, sequence_length."
    )
    source_prefix: Annotated[str, Only(objective=("seq2seq",))] = Field(
        "", description="A text that is put before every source, such as 'summarize: '."
    )
    label_smoothing: Annotated[float, Only(objective=("seq2seq",))] = Field(
        0.0,
        ge=0,
        lt=1,
        description="The share of each target's probability that is spread over all tokens while "
        "training.",
    )
    stride: Annotated[int, Only(objective=("question-answering",))] = Field(
        64,
        ge=0,
        description="Tokens of a long context that one window of it and the next have in common.",
    )
    beta: Annotated[float | None, Only(objective=(*PREFERENCES, "kto"))] = Field(
        None,
        gt=0,
        description="The scale of the loss: of rewards (dpo, kto, simpo), of the distance that is "
        "aimed at (ipo), or of the odds ratio's share (orpo); left out, 0.1, and 2 for simpo.",
    )
    margin: Annotated[float, Only(objective=("simpo",))] = Field(
        1.0, ge=0, description="By how much the rewards of two answers are to differ."
    )
    temperature: Annotated[float, Only(objective=("contrastive",))] = Field(
        0.05, gt=0, description="What the products of two texts' vectors are divided by."
    )


def columns_of(objective: str, given: Mapping[str, str]) -> dict[str, str]:
    """What an objective takes of a row -> the column that has it.

    Args:
        objective: one of `IN_ROWS`.
        given: what a recipe says of it.

    Raises:
        ValueError: the objective takes no such thing.
    """
    known = COLUMNS[objective]
    for name in given:
        if name not in known:
            raise ValueError(f"columns.{name}: {objective} takes no {name!r} ({hint(name, known)})")
    usual = {name: column for name, column in known.items() if column is not None}
    return {**usual, **given}
