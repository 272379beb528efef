"""The configs of Qwen2-VL (transformers: Qwen2VLConfig, Qwen2VLTextConfig, Qwen2VLVisionConfig)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from tfcli.models.config import BaseConfig, require, require_activation, require_divides
from tfcli.models.configs.multimodal import VisionLanguageConfig, tie_as_the_text
from tfcli.models.configs.qwen2 import Qwen2Config
from tfcli.models.configs.rope import check_rope, check_sections, read_rope, write_rope

_SECTIONS = [16, 24, 24]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen2VLTextConfig(Qwen2Config):
    """Qwen2 whose positions are a time, a height and a width (M-RoPE)."""

    model_type: ClassVar[str] = "qwen2_vl_text"
    default_theta: ClassVar[float] = 1000000.0

    vocab_size: int = 152064
    hidden_size: int = 8192
    intermediate_size: int = 29568
    num_hidden_layers: int = 80
    num_attention_heads: int = 64
    num_key_value_heads: int = 8
    rms_norm_eps: float = 1e-5
    max_window_layers: int = 80
    bos_token_id: int | None = 151643
    eos_token_id: int | list[int] | None = 151645

    @property
    def sections(self) -> list[int]:
        """Pairs of a head that turn by the time, the height and the width."""
        found: list[int] = self.rope_parameters.get("mrope_section", _SECTIONS)
        return found

    @classmethod
    def read_positions(cls, data: dict[str, Any]) -> dict[str, Any]:
        rope = read_rope(data, default_theta=cls.default_theta)
        if rope["rope_type"] == "mrope":  # earlier files say so of the sections alone
            rope["rope_type"] = "default"
        return rope

    def write_positions(self) -> dict[str, Any]:
        written = write_rope(self.rope_parameters)
        if written["rope_scaling"] is None and "mrope_section" in self.rope_parameters:
            sections = self.rope_parameters["mrope_section"]
            written["rope_scaling"] = {"type": "mrope", "mrope_section": sections}
        return written

    def check_positions(self) -> None:
        check_rope(self.rope_parameters, self.head_dim, further=("mrope_section",))
        check_sections(self.sections, self.head_dim)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen2VLVisionConfig(BaseConfig):
    """Qwen2-VL's tower.

    Args:
        embed_dim: width of its states.
        hidden_size: of the features that it makes of them, d of the language model.
        spatial_merge_size: side of the square of patches that becomes one feature.
        temporal_patch_size: frames of a patch; an image is taken as often.
    """

    model_type: ClassVar[str] = "qwen2_vl_vision"
    aliases: ClassVar[dict[str, str]] = {
        "depth": "num_hidden_layers",
        "num_heads": "num_attention_heads",
    }

    num_hidden_layers: int = 32
    embed_dim: int = 1280
    hidden_size: int = 3584
    hidden_act: str = "quick_gelu"
    mlp_ratio: int = 4
    num_attention_heads: int = 16
    in_channels: int = 3
    patch_size: int = 14
    spatial_merge_size: int = 2
    temporal_patch_size: int = 2
    rope_parameters: dict[str, Any] | None = None

    @property
    def width(self) -> int:
        return self.embed_dim

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_attention_heads

    @property
    def theta(self) -> float:
        """Base of the frequencies of rows and columns."""
        return float((self.rope_parameters or {}).get("rope_theta", 10000.0))

    @property
    def patch_values(self) -> int:
        """Numbers of a patch, as the processor gives it."""
        return self.in_channels * self.temporal_patch_size * self.patch_size**2

    def check(self) -> None:
        super().check()
        self.check_sizes(
            "embed_dim",
            "hidden_size",
            "mlp_ratio",
            "num_attention_heads",
            "in_channels",
            "patch_size",
            "spatial_merge_size",
            "temporal_patch_size",
        )
        self.check_layers()
        require_divides(self.num_attention_heads, self.embed_dim, "num_heads", "embed_dim")
        require(
            self.head_dim % 4 == 0,
            "num_heads",
            f"is {self.num_attention_heads}, so a head has {self.head_dim} of embed_dim "
            f"({self.embed_dim}); rows and columns turn a multiple of 4",
        )
        require_activation(self.hidden_act, "hidden_act")
        rope = self.rope_parameters or {}
        kind, base = rope.get("rope_type", "axial"), rope.get("rope_theta", 1.0)
        key = "rope_parameters"
        require(kind == "axial", f"{key}.rope_type", f"is {kind!r}; supported: 'axial'")
        number = isinstance(base, (int, float)) and not isinstance(base, bool) and base > 0
        require(number, f"{key}.rope_theta", f"must be a positive number, not {base!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen2VLConfig(VisionLanguageConfig):
    """Qwen2-VL. Earlier files have the language model's keys beside `vision_config`."""

    model_type: ClassVar[str] = "qwen2_vl"
    nested: ClassVar[dict[str, str]] = {
        "text_config": "qwen2_vl_text",
        "vision_config": "qwen2_vl_vision",
    }

    text_config: Qwen2VLTextConfig
    vision_config: Qwen2VLVisionConfig
    image_token_id: int = 151655
    video_token_id: int = 151656
    vision_start_token_id: int = 151652
    vision_end_token_id: int = 151653

    @property
    def image_token(self) -> int:
        return self.image_token_id

    @property
    def media_tokens(self) -> dict[str, int]:
        return {"image": self.image_token_id, "video": self.video_token_id}

    @property
    def marks(self) -> dict[str, int | None]:
        kinds = ("image", "video", "vision_start", "vision_end")
        return {f"{kind}_token_id": getattr(self, f"{kind}_token_id") for kind in kinds}

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        if data.get("text_config") is None:
            shared = {field.name for field in dataclasses.fields(BaseConfig)}
            own = (*sorted(set(Qwen2VLTextConfig.keys()) - shared), "use_cache")
            data["text_config"] = {key: data.pop(key) for key in own if key in data}
            if "initializer_range" in data:
                data["text_config"]["initializer_range"] = data["initializer_range"]
        data = super().read_keys(data)
        for field, model_type in cls.nested.items():
            if isinstance(data[field], Mapping):
                # The classes of the parts are fixed; some files call them by the name of the whole.
                data[field] = {**data[field], "model_type": model_type}
        return tie_as_the_text(data, cls.nested["text_config"])

    def check(self) -> None:
        super().check()
        vision, text = self.vision_config.hidden_size, self.text_config.hidden_size
        require(
            vision == text,
            "vision_config.hidden_size",
            f"is {vision}, but text_config.hidden_size is {text}; features of images stand among "
            "the tokens' embeddings, so they are equally wide",
        )
