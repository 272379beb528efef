"""What the configs of everything that reads or writes tokens share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfcli.models.config import BaseConfig, require
from tfcli.models.limits import LIMIT


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig(BaseConfig):
    """A vocabulary, layers and positions."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    tie_word_embeddings: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    @property
    def text(self) -> TextConfig:
        return self

    @property
    def has_text(self) -> bool:
        return True

    def with_text(self, text: TextConfig) -> Any:
        return text

    @property
    def num_key_value_heads(self) -> int:
        """Heads of keys and values. Families with grouped queries have a field instead."""
        return self.num_attention_heads

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def longest_input(self) -> int:
        """How many tokens the model can take at once: more than it was trained with, where its
        positions have no limit or are stretched for it."""
        rope = self._rope
        kind, factor = rope.get("rope_type"), rope.get("factor", 1.0)
        trained = self.max_position_embeddings
        if kind in ("linear", "dynamic"):
            return min(LIMIT, max(trained, int(trained * factor)))
        if kind == "yarn":
            original = rope.get("original_max_position_embeddings", trained)
            return min(LIMIT, max(trained, int(original * factor)))
        return trained

    @property
    def trained_length(self) -> int:
        """How many tokens the config names: what a length is by default."""
        return min(self.longest_input, self.max_position_embeddings)

    @property
    def rotation_switch(self) -> int | None:
        """The length past which all positions are turned otherwise, earlier ones too."""
        rope = self._rope
        if rope.get("rope_type") != "longrope":
            return None
        length: int = rope["original_max_position_embeddings"]
        return length

    @property
    def _rope(self) -> Mapping[str, Any]:
        """The rotary settings, where all layers share them."""
        rope = getattr(self, "rope_parameters", None)
        return rope if isinstance(rope, Mapping) else {}

    @property
    def longest_text(self) -> int:
        """How many tokens a text may have that is read and written with a cache."""
        return self.longest_input

    @property
    def bidirectional(self) -> bool:
        """Whether a decoder's tokens see those after them; then it makes vectors and no text."""
        return False

    @property
    def cached_layers(self) -> int:
        """How many layers a cache has; one that looks at an encoder's states counts twice."""
        return self.num_hidden_layers

    @property
    def cached_per_position(self) -> int:
        """Numbers that a position adds to one layer's cache."""
        return 2 * self.num_key_value_heads * self.head_dim

    @property
    def token_id_limit(self) -> int:
        """Ids from here on have no embedding row."""
        return self.vocab_size

    def window(self, layer: int) -> int | None:
        """How many keys a query of this layer sees, itself among them; None: all before it."""
        return None

    def check(self) -> None:
        super().check()
        self.check_sizes(
            "vocab_size", "hidden_size", "num_attention_heads", "max_position_embeddings"
        )
        self.check_layers()
        if self.pad_token_id is not None:
            require(
                self.pad_token_id < self.vocab_size,
                "pad_token_id",
                f"is {self.pad_token_id}, but vocab_size is {self.vocab_size}",
            )
