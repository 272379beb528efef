"""ConvBERT's config (transformers: ConvBertConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_divides
from tfcli.models.configs.electra import ElectraConfig

SUMMARIES = ("first", "last", "mean")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvBertConfig(ElectraConfig):
    """ELECTRA, half of whose attention heads are convolutions.

    Args:
        head_ratio: num_attention_heads is divided by it.
        conv_kernel_size: positions that a convolution sees.
        num_groups: parts that the linears of the mlp are split into.
        summary_type: which state multiple choice looks at. transformers has this key and the other
            summary keys only where a file has them.
    """

    model_type: ClassVar[str] = "convbert"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        key: values for key, values in ElectraConfig.fixed.items() if key != "summary_type"
    }

    hidden_size: int = 768
    embedding_size: int = 768
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
    head_ratio: int = 2
    conv_kernel_size: int = 9
    num_groups: int = 1
    summary_type: str = "last"
    summary_use_proj: bool = False
    summary_activation: str | None = None
    summary_last_dropout: float = 0.0

    @property
    def heads(self) -> int:
        """Heads of attention, and as many of convolution."""
        return max(self.num_attention_heads // self.head_ratio, 1)

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.heads // 2

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return {
            key: value
            for key, value in out.items()
            if not (key.startswith("summary_") and value == defaults[key])
        }

    def check(self) -> None:
        super().check()
        for key in ("head_ratio", "conv_kernel_size", "num_groups"):
            require(getattr(self, key) >= 1, key, "must be at least 1")
        require(self.conv_kernel_size % 2 == 1, "conv_kernel_size", "must be odd")
        require_divides(2 * self.heads, self.hidden_size, "twice the heads left", "hidden_size")
        for key in ("hidden_size", "intermediate_size"):
            require_divides(self.num_groups, getattr(self, key), "num_groups", key)
        known = f"is {self.summary_type!r}; built are {', '.join(SUMMARIES)}"
        require(self.summary_type in SUMMARIES, "summary_type", known)
