"""What the configs of GPT-2 and the decoders after its pattern share."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_activation, require_divides
from tfcli.models.configs.text import TextConfig

# What config.json calls the sizes.
SIZES = {
    "n_positions": "max_position_embeddings",
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPTConfig(TextConfig):
    """Sizes under GPT-2's names, which are read and written, dropouts, norms."""

    aliases: ClassVar[dict[str, str]] = SIZES
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"add_cross_attention": (False, None)}

    n_inner: int | None = None
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.0
    embd_pdrop: float = 0.0
    attn_pdrop: float = 0.0
    layer_norm_epsilon: float = 1e-5
    bos_token_id: int | None = 50256
    eos_token_id: int | list[int] | None = 50256

    @property
    def intermediate_size(self) -> int:
        """Width of the mlp."""
        return 4 * self.hidden_size if self.n_inner is None else self.n_inner

    def attention_scale(self, layer: int) -> float:
        """The factor on one layer's attention scores."""
        return self.head_dim**-0.5

    def check(self) -> None:
        super().check()
        require_divides(
            self.num_attention_heads,
            self.hidden_size,
            self.spelling("num_attention_heads"),
            self.spelling("hidden_size"),
        )
        require(self.intermediate_size >= 1, self.spelling("n_inner"), "must be at least 1")
        require_activation(self.activation_function, "activation_function")
        for field in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
            require(0 <= getattr(self, field) < 1, self.spelling(field), "must be in [0, 1)")
