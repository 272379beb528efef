"""The kinds of tasks by the `output_type` of their files."""

from __future__ import annotations

from tfcli.evaluate.heads.kind import Kind
from tfcli.evaluate.heads.kinds.classification import (
    AudioClassification,
    ImageClassification,
    TextClassification,
)

KINDS: dict[str, type[Kind]] = {
    "text-classification": TextClassification,
    "image-classification": ImageClassification,
    "audio-classification": AudioClassification,
}
"""`output_type` -> the kind."""
