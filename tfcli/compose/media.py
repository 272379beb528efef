"""What prepares the media of each encoder: its folder's settings, or its family's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from tfcli.compose.parts import Part
from tfcli.errors import UsageError
from tfcli.models.config import BaseConfig
from tfcli.processors.folder import SINGLE, Found, find_part
from tfcli.processors.images.size import Size
from tfcli.processors.modular_parts import Kind, MediaPart, media_processor
from tfcli.processors.registry import AUDIO_OF_MODEL_TYPE, IMAGES_OF_MODEL_TYPE

_SIDE = 64  # pixels of the image that is tried; processors bring any image to their own size


def media_part(name: str, tower: Part, token: str) -> tuple[MediaPart, str | None]:
    """What prepares the media of an encoder, and what a person should know of it.

    The settings are those of the encoder's folder (processor_config.json, preprocessor_config.json)
    where it has any, else those of its family at the size that its config names.

    Args:
        name: of the encoder. tower: it. token: stands for a medium in a text.

    Raises:
        UsageError: neither.
        WorkError: settings that cannot be read.
    """
    folder, families = tower.checkpoint.beside, _families(tower)
    kinds: tuple[Kind, ...] = ("image_processor", "feature_extractor")
    main = tower.family.backbone_class().tower_class().main
    kind = kinds[main != "pixel_values"]
    found = find_part(folder, kind)
    if found is not None:
        return MediaPart(
            kind, media_processor(kind, _named(kind, found, families), found.where), token
        ), None
    default = _default(kind, families)
    if default is None:
        raise UsageError(
            f"nothing says how media are prepared for {name}: {tower.ref} has no {SINGLE}, and "
            f"there is no processor of {tower.config.model_type}",
            where=f"model.encoders.{name}.model",
            fix=f"put a {SINGLE} beside its weights, with {kind}_type and its settings",
        )
    processor = _sized(kind, media_processor(kind, {f"{kind}_type": default}, SINGLE), tower.config)
    note = f"{name}: {tower.ref} has no {SINGLE}; taken are the settings of {default}"
    return MediaPart(kind, processor, token), note


def example(part: MediaPart) -> dict[str, Tensor]:
    """The encoder's inputs for a medium of no interest: a grey image, or a second of silence."""
    if part.kind == "image_processor":
        return part(np.full((_SIDE, _SIDE, 3), 127, dtype=np.uint8))
    rate = part.processor.settings.sampling_rate
    return part(part.read(np.zeros(rate, dtype=np.float32), {"sampling_rate": rate}))


def _families(tower: Part) -> tuple[str, ...]:
    """Under which names a tower's family may have a processor: `clip_vision_model` is CLIP's."""
    own = tower.config.model_type
    return own, own.removesuffix("_vision_model"), str(tower.checkpoint.config.get("model_type"))


def _default(kind: Kind, families: tuple[str, ...]) -> str | None:
    known = IMAGES_OF_MODEL_TYPE if kind == "image_processor" else AUDIO_OF_MODEL_TYPE
    return next((known[name] for name in families if name in known), None)


def _named(kind: Kind, found: Found, families: tuple[str, ...]) -> dict[str, Any]:
    """Settings with the name of their class, which older files of images leave out."""
    named = found.name("image_processor_type", "feature_extractor_type")
    default = _default(kind, families)
    if named is None and default is not None:
        return {**found.values, f"{kind}_type": default}
    return found.values


def _sized(kind: Kind, processor: Any, config: BaseConfig) -> Any:
    """A family's processor, at the size that a config names."""
    settings = processor.settings
    if kind == "feature_extractor":
        mels = getattr(config, "num_mel_bins", None)
        return processor if mels is None else type(processor)(replace(settings, feature_size=mels))
    side = getattr(config, "image_size", None)
    if not isinstance(side, int):
        return processor
    changes: dict[str, Any] = {}
    if settings.size is not None:
        short = settings.size.shortest_edge is not None
        changes["size"] = Size(shortest_edge=side) if short else Size(height=side, width=side)
    if settings.crop_size is not None:
        changes["crop_size"] = Size(height=side, width=side)
    return type(processor)(**changes)
