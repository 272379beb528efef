"""GPT-Neo's config (transformers: GPTNeoConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.gpt import GPTConfig
from tfcli.models.limits import LIMIT, MAX_LAYERS

GLOBAL, LOCAL = "global", "local"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPTNeoConfig(GPTConfig):
    """GPT-Neo.

    `attention_types` says which layers see a window only: `[[["global", "local"], 12]]` is the
    pair of them twelve times. Without it, layers alternate, the first of them global.
    """

    model_type: ClassVar[str] = "gpt_neo"
    aliases: ClassVar[dict[str, str]] = {
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "intermediate_size": "n_inner",
        "resid_dropout": "resid_pdrop",
        "embed_dropout": "embd_pdrop",
        "attention_dropout": "attn_pdrop",
    }

    vocab_size: int = 50257
    hidden_size: int = 2048
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    max_position_embeddings: int = 2048
    attention_types: list[Any] | None = None
    window_size: int = 256

    @property
    def attention_layers(self) -> list[str]:
        """The kind of each layer."""
        return expand(self.attention_types or [])

    def window(self, layer: int) -> int | None:
        return self.window_size if self.attention_layers[layer] == LOCAL else None

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        layers = data.pop("attention_layers", None)  # what attention_types comes to
        if data.get("attention_types") is None and layers is not None:
            data["attention_types"] = [[layers, 1]]
        return data

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        return {**out, "attention_layers": self.attention_layers}  # older tools read this one

    def complete(self) -> None:
        if self.attention_types is None:
            pairs, odd = divmod(self.num_hidden_layers, 2)
            types: list[Any] = [[[GLOBAL, LOCAL], pairs]] + [[[GLOBAL], 1]] * odd
            object.__setattr__(self, "attention_types", types)

    def check(self) -> None:
        super().check()
        require(self.window_size >= 1, "window_size", "must be at least 1")
        problem = "must be pairs of a list of 'global' and 'local' and how often it is repeated"
        for item in self.attention_types or []:
            require(isinstance(item, list) and len(item) == 2, "attention_types", problem)
            kinds, count = item
            known = isinstance(kinds, list) and all(kind in (GLOBAL, LOCAL) for kind in kinds)
            require(known and isinstance(count, int), "attention_types", problem)
            require(
                0 <= count <= MAX_LAYERS and len(kinds) <= MAX_LAYERS, "attention_types", problem
            )
        named = sum(len(kinds) * count for kinds, count in self.attention_types or [])
        require(
            min(named, LIMIT) == self.num_hidden_layers,
            "attention_types",
            f"names {named} layers, but num_layers is {self.num_hidden_layers}",
        )


def expand(types: list[Any]) -> list[str]:
    """`[[["global", "local"], 2]]` -> the kind of each of the four layers."""
    return [kind for kinds, count in types for _ in range(count) for kind in kinds]
