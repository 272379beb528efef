"""Which processors exist, by the names that files have for them, and where their code is.

A processor of your own is registered with `register(YourProcessor)`, or by an installed package
with an entry point of the group `tfcli.processors`, whose name is what files call it.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from tfcli.errors import UsageError, WorkError, hint

ENTRY_POINTS = "tfcli.processors"

# What files call a processor -> its module below `tfcli.processors`, and its class there.
_BUILT_IN = {
    "BitImageProcessor": "images.bit:BitImageProcessor",
    "CLIPProcessor": "clip:CLIPProcessor",
    "Gemma3Processor": "gemma3:Gemma3Processor",
    "LlavaNextProcessor": "llava_next:LlavaNextProcessor",
    "LlavaProcessor": "llava:LlavaProcessor",
    "MultimodalProcessor": "modular:MultimodalProcessor",
    "PaliGemmaProcessor": "paligemma:PaliGemmaProcessor",
    "Qwen2VLProcessor": "qwen2_vl:Qwen2VLProcessor",
    "Siglip2Processor": "siglip:Siglip2Processor",
    "SiglipProcessor": "siglip:SiglipProcessor",
    "Wav2Vec2FeatureExtractor": "audio.wav2vec2:Wav2Vec2FeatureExtractor",
    "Wav2Vec2Processor": "audio.speech:Wav2Vec2Processor",
    "WhisperFeatureExtractor": "audio.whisper:WhisperFeatureExtractor",
    "WhisperProcessor": "audio.speech:WhisperProcessor",
    "CLIPFeatureExtractor": "images.clip:CLIPImageProcessor",
    "CLIPImageProcessor": "images.clip:CLIPImageProcessor",
    "DeiTFeatureExtractor": "images.deit:DeiTImageProcessor",
    "DeiTImageProcessor": "images.deit:DeiTImageProcessor",
    "Gemma3ImageProcessor": "images.gemma3:Gemma3ImageProcessor",
    "LlavaImageProcessor": "images.llava:LlavaImageProcessor",
    "LlavaNextImageProcessor": "images.llava_next:LlavaNextImageProcessor",
    "Qwen2VLImageProcessor": "images.qwen2_vl:Qwen2VLImageProcessor",
    "Qwen2VLVideoProcessor": "images.qwen2_vl_video:Qwen2VLVideoProcessor",
    "Siglip2ImageProcessor": "images.siglip2:Siglip2ImageProcessor",
    "SiglipImageProcessor": "images.siglip:SiglipImageProcessor",
    "ViTFeatureExtractor": "images.vit:ViTImageProcessor",
    "ViTImageProcessor": "images.vit:ViTImageProcessor",
}
IMAGES_OF_MODEL_TYPE = {
    "bit": "BitImageProcessor",
    "clip": "CLIPImageProcessor",
    "deit": "DeiTImageProcessor",
    "dinov2": "BitImageProcessor",
    "gemma3": "Gemma3ImageProcessor",
    "llava": "LlavaImageProcessor",
    "llava_next": "LlavaNextImageProcessor",
    "paligemma": "SiglipImageProcessor",
    "qwen2_vl": "Qwen2VLImageProcessor",
    "siglip": "SiglipImageProcessor",
    "siglip2": "Siglip2ImageProcessor",
    "vit": "ViTImageProcessor",
}
"""model_type in config.json -> the image processor of files that do not say theirs."""

AUDIO_OF_MODEL_TYPE = {
    "hubert": "Wav2Vec2FeatureExtractor",
    "wav2vec2": "Wav2Vec2FeatureExtractor",
    "whisper": "WhisperFeatureExtractor",
}
"""The same, for feature extractors of audio."""

JOINT_OF_MODEL_TYPE = {
    "clip": "CLIPProcessor",
    "gemma3": "Gemma3Processor",
    "llava": "LlavaProcessor",
    "llava_next": "LlavaNextProcessor",
    "multimodal": "MultimodalProcessor",
    "paligemma": "PaliGemmaProcessor",
    "qwen2_vl": "Qwen2VLProcessor",
    "siglip": "SiglipProcessor",
    "siglip2": "Siglip2Processor",
    "wav2vec2": "Wav2Vec2Processor",
    "whisper": "WhisperProcessor",
}
"""The same, for the joint processor."""

_own: dict[str, type[Any]] = {}


def register(cls: type[Any], *names: str) -> type[Any]:
    """Make a processor known.

    Args:
        cls: has a class method `from_pretrained(folder)`.
        names: what files call it; left out, `cls.names`, or the class's own name.

    Raises:
        UsageError: no such method, or another processor has one of the names.
    """
    if not callable(getattr(cls, "from_pretrained", None)):
        raise UsageError(f"{cls!r} has no from_pretrained(folder)", fix="give it one")
    for name in names or getattr(cls, "names", ()) or (cls.__name__,):
        if name in _BUILT_IN or _own.get(name, cls) is not cls:
            raise UsageError(
                f"there is a processor {name!r} already",
                fix="give yours a name of its own, in its files too",
            )
        _own[name] = cls
    return cls


def find(name: str, where: str) -> type[Any]:
    """The class that a file names; `Fast` at its end, as older files have it, says nothing.

    Args:
        where: the file, for errors.

    Raises:
        WorkError: there is none of that name.
    """
    plain = name.removesuffix("Fast").removesuffix("Pil")
    for known in (name, plain):
        if known in _own:
            return _own[known]
    if plain in _BUILT_IN:
        module, _, attribute = _BUILT_IN[plain].partition(":")
        found: type[Any] = getattr(import_module(f"tfcli.processors.{module}"), attribute)
        return found
    for point in entry_points(group=ENTRY_POINTS, name=plain):
        return register(point.load(), plain)
    raise WorkError(
        f"there is no processor {name[:80]!r}", where=where, fix=hint(plain, (*_BUILT_IN, *_own))
    )
