"""The kinds of tasks by the `output_type` of their files."""

from __future__ import annotations

from tfcli.evaluate.heads.kind import Kind
from tfcli.evaluate.heads.kinds.answers import QuestionAnswering
from tfcli.evaluate.heads.kinds.classification import (
    AudioClassification,
    ImageClassification,
    TextClassification,
)
from tfcli.evaluate.heads.kinds.retrieval import Retrieval
from tfcli.evaluate.heads.kinds.similarity import Similarity
from tfcli.evaluate.heads.kinds.tags import TokenClassification
from tfcli.evaluate.heads.kinds.words import SpeechRecognition, VisualQuestionAnswering

KINDS: dict[str, type[Kind]] = {
    "text-classification": TextClassification,
    "image-classification": ImageClassification,
    "audio-classification": AudioClassification,
    "token-classification": TokenClassification,
    "question-answering": QuestionAnswering,
    "sts": Similarity,
    "retrieval": Retrieval,
    "visual-question-answering": VisualQuestionAnswering,
    "automatic-speech-recognition": SpeechRecognition,
}
"""`output_type` -> the kind."""
