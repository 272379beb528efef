"""Options of tasks that look at images or listen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tfcli.predict.options.shared import LabelOptions, Options
from tfcli.predict.options.text import ScoreOptions
from tfcli.recipe.marks import GIVEN, Only


class ImageClassificationOptions(ScoreOptions):
    """Of `image-classification`, and of `audio-classification`."""

    top_k: int | None = Field(5, ge=1, description="How many of the best labels; null: all.")


class ImageFeatureOptions(Options):
    """Of `image-feature-extraction`."""

    pool: bool = Field(
        False, description="One vector for the image, of the model's pooler, and not its states."
    )


class ZeroShotImageOptions(LabelOptions):
    """Of `zero-shot-image-classification`."""

    hypothesis_template: str = Field(
        "This is a photo of {}.", description="The text of a label; {} stands for it."
    )


class SpeechOptions(Options):
    """Of `automatic-speech-recognition`."""

    chunk_length_s: float | None = Field(
        None,
        gt=0,
        description="Seconds of a chunk, of models that predict each moment (CTC); left out, a "
        "recording is heard at once. Whisper has windows of its own.",
    )
    stride_length_s: Annotated[float | tuple[float, float] | None, Only(chunk_length_s=GIVEN)] = (
        Field(
            None,
            description="Seconds that a chunk shares with those beside it, left and right; left "
            "out, a sixth of the chunk.",
        )
    )
    language: str | None = Field(
        None,
        description="Of Whisper: what is spoken, as a code or an English name; left out, the "
        "model hears which it is.",
    )
    speech_task: Literal["transcribe", "translate"] | None = Field(
        None, description="Of Whisper: whether it is written in its language, or in English."
    )
    max_new_tokens: int | None = Field(
        None, ge=1, description="Of Whisper: tokens of a window at most; left out, all positions."
    )
    return_timestamps: Literal["char", "word"] | bool = Field(
        False,
        description="Also say when: of CTC each char or word, of Whisper (true) each part.",
    )
