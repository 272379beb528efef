"""The config of a language model with any number of encoders of any modality."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from tfcli.models.config import BaseConfig, in_part, read_nested, require, require_activation
from tfcli.models.configs.text import TextConfig
from tfcli.models.errors import ModelError, hint
from tfcli.models.limits import LIMIT, MAX_LAYERS

PROJECTORS = ("linear", "mlp", "qformer", "resampler")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """One encoder, and how its states become features among the tokens.

    Args:
        config: of the encoder.
        token_id: the id of the token in whose places its features go.
        projector_type: one of `PROJECTORS`.
        activation: within the projector.
        feature_layer: which layer's states are taken: 0 is what the first block gets, -1 the last
            block's output, after the final norm where there is one.
        drop_first: leave the first state out, which stands for the whole image in some towers.
        num_queries: features a medium, of the projectors with learned queries.
        projector_layers: blocks of these projectors.
    """

    config: BaseConfig
    token_id: int
    projector_type: str = "linear"
    activation: str = "gelu"
    feature_layer: int = -1
    drop_first: bool = False
    num_queries: int = 32
    projector_layers: int = 2

    def __post_init__(self) -> None:
        require(
            self.projector_type in PROJECTORS,
            "projector_type",
            f"is {self.projector_type!r}; {hint(self.projector_type, PROJECTORS)}",
        )
        require_activation(self.activation, "activation")
        depth = getattr(self.config, "num_hidden_layers", MAX_LAYERS)
        require(
            -depth - 1 <= self.feature_layer <= depth,
            "feature_layer",
            f"is {self.feature_layer}, but the encoder has {depth} layers",
        )
        for name in ("token_id", "num_queries", "projector_layers"):
            value = getattr(self, name)
            least = 0 if name == "token_id" else 1
            require(type(value) is int and least <= value <= LIMIT, name, f"is {value!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultimodalConfig(BaseConfig):
    """A language model and its encoders by name, as `tfcli compose` writes it."""

    model_type: ClassVar[str] = "multimodal"
    nested: ClassVar[dict[str, str]] = {"text_config": "llama"}

    text_config: TextConfig
    encoders: dict[str, Any]

    @property
    def media_tokens(self) -> dict[str, int]:
        return {name: encoder.token_id for name, encoder in self.encoders.items()}

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        encoders = data.get("encoders")
        require(isinstance(encoders, dict), "encoders", "must be an object with one a modality")
        assert isinstance(encoders, dict)
        data["encoders"] = {name: _read(name, each) for name, each in encoders.items()}
        return data

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        written = {}
        for name, encoder in self.encoders.items():
            fields = {f.name: getattr(encoder, f.name) for f in dataclasses.fields(encoder)}
            written[name] = {"encoder_config": fields.pop("config").to_dict(), **fields}
        return {**out, "encoders": written}

    def check(self) -> None:
        super().check()
        require(
            isinstance(self.text_config, TextConfig),
            "text_config",
            f"is that of {self.text_config.model_type}, which reads no text",
        )
        taken: dict[int, str] = {}
        for name, encoder in self.encoders.items():
            require(
                re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,40}", name) is not None,
                "encoders",
                f"has the name {name[:60]!r}: letters, digits and _ make a name",
            )
            other = taken.setdefault(encoder.token_id, name)
            require(
                other == name,
                f"encoders.{name}.token_id",
                f"is {encoder.token_id}, which is that of {other} too",
            )


def _read(name: str, data: Any) -> EncoderConfig:
    """One entry of `encoders`."""
    if isinstance(data, EncoderConfig):
        return data
    with in_part(f"encoders.{name}"):
        require(isinstance(data, Mapping), "", f"must be an object, not {data!r}")
        values = dict(data)
        require("encoder_config" in values, "encoder_config", "is missing")
        nested = values.pop("encoder_config")
        require(
            isinstance(nested, (Mapping, BaseConfig)) and bool(nested),
            "encoder_config",
            "must be an object with a model_type",
        )
        config = read_nested("encoder_config", nested, "")
        known = [field.name for field in dataclasses.fields(EncoderConfig)][1:]
        for key in values:
            if key not in known:
                raise ModelError(f"unknown key {key!r}", where=f"key {key}", fix=hint(key, known))
        require("token_id" in values, "token_id", "is missing")
        return EncoderConfig(config=config, **values)
