"""What prepares the media of one encoder of a composed model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from tfcli.errors import WorkError
from tfcli.processors.audio.batch import as_waves
from tfcli.processors.audio.wav2vec2 import Wav2Vec2FeatureExtractor
from tfcli.processors.audio.whisper import WhisperFeatureExtractor
from tfcli.processors.images.base import VisionProcessor
from tfcli.processors.joint import TEXT_KEYS
from tfcli.processors.placeholders import image_counts
from tfcli.processors.registry import find

Kind = Literal["image_processor", "feature_extractor"]
MEDIA: dict[Kind, str] = {"image_processor": "image", "feature_extractor": "audio"}
"""What prepares media -> the word for one, in messages and in arguments of a call."""
_TYPES: dict[Kind, tuple[str, ...]] = {
    "image_processor": ("image_processor_type", "feature_extractor_type"),
    "feature_extractor": ("feature_extractor_type",),
}
_BASES: dict[Kind, tuple[type[Any], ...]] = {
    "image_processor": (VisionProcessor,),
    "feature_extractor": (WhisperFeatureExtractor, Wav2Vec2FeatureExtractor),
}
# A model's own `attention_mask` is that of its tokens.
_MASK = {"attention_mask": "encoder_attention_mask"}


@dataclass(frozen=True)
class MediaPart:
    """The processor of one encoder's media.

    Args:
        kind: under which a processor_config.json has its settings.
        processor: an image processor, or a feature extractor of audio.
        token: stands for a medium in a text, and for each of its features.
    """

    kind: Kind
    processor: Any
    token: str

    @property
    def medium(self) -> str:
        """The word for what it takes."""
        return MEDIA[self.kind]

    @property
    def options(self) -> tuple[str, ...]:
        """The names of what a call may say of the media; others' names are the text's."""
        if self.kind == "image_processor":
            names: tuple[str, ...] = self.processor.settings.names()
            return names
        given = list(inspect.signature(type(self.processor).__call__).parameters)[2:]
        return tuple(name for name in given if name not in TEXT_KEYS)

    def read(self, media: Any, options: dict[str, Any]) -> Any:
        """Media as they are counted and processed: audio is decoded, once.

        Args:
            media: as they are given.
            options: of the call; a sampling rate is taken out, as all waves have the model's then.

        Raises:
            WorkError: audio that cannot be read.
        """
        if self.kind == "image_processor":
            return media
        rate = self.processor.settings.sampling_rate
        return as_waves(media, rate, options.pop("sampling_rate", None))

    def counts(self, media: Any, texts: Sequence[str] | None) -> list[int]:
        """How many media there are: for each text where they come so, else one number."""
        return image_counts(media, texts) if self.kind == "image_processor" else [len(media)]

    def __call__(self, media: Any, **options: Any) -> dict[str, Tensor]:
        """The encoder's inputs, of what `read` gives."""
        if self.kind == "feature_extractor":
            default = inspect.signature(type(self.processor).__call__).parameters["padding"].default
            options = {"padding": default or "longest", **options}
            options["sampling_rate"] = self.processor.settings.sampling_rate
        made: dict[str, Tensor] = dict(self.processor(media, **options))
        return {_MASK.get(name, name): value for name, value in made.items()}

    def config(self) -> dict[str, Any]:
        """What processor_config.json has of it."""
        if self.kind == "image_processor":
            settings: dict[str, Any] = self.processor.config()
        else:
            settings = self.processor.settings.to_dict()
        return {"token": self.token, str(self.kind): settings}

    @classmethod
    def from_config(cls, values: Mapping[str, Any], where: str) -> MediaPart:
        """The inverse of `config`.

        Raises:
            WorkError: a key is missing, or a class or setting is not known.
        """
        kinds = [kind for kind in MEDIA if isinstance(values.get(kind), dict)]
        token = values.get("token")
        if len(kinds) != 1 or not isinstance(token, str) or not token:
            raise WorkError(
                f"expected a token, and one of {' or '.join(MEDIA)}",
                where=where,
                fix="compose the model again",
            )
        return cls(kinds[0], media_processor(kinds[0], values[kinds[0]], where), token)


def media_processor(kind: Kind, values: Mapping[str, Any], where: str) -> Any:
    """An image processor or a feature extractor, as settings say.

    Args:
        kind: which. values: its settings, with its class. where: the file, for errors.

    Raises:
        WorkError: no class, one that is not known, or a setting that does not fit.
    """
    name = next((values[key] for key in _TYPES[kind] if isinstance(values.get(key), str)), None)
    if name is None:
        raise WorkError(
            f"it does not say which {kind} it is for", where=where, fix=f"add {_TYPES[kind][0]}"
        )
    made = find(name, where)
    if not issubclass(made, _BASES[kind]):
        raise WorkError(f"{name} is no {kind}", where=where, fix=f"check {_TYPES[kind][0]}")
    if kind == "image_processor":
        return made.from_config(values, where)
    extractor = made()
    return made(type(extractor.settings).from_dict(values, where))
