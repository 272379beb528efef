"""Cohere 2's config (transformers: Cohere2Config)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.configs.cohere import CommandConfig
from tfcli.models.configs.windows import SLIDING, PatternConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cohere2Config(CommandConfig, PatternConfig):
    """Command R7B and Command A. Layers without a window have no positions either."""

    model_type: ClassVar[str] = "cohere2"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        **CommandConfig.fixed,
        "use_qk_norm": (False, None),  # of the family before
    }
    default_theta: ClassVar[float] = 10000.0
    default_pattern: ClassVar[int] = 4

    def rotates(self, layer: int) -> bool:
        """Whether a layer has positions."""
        return self.kind(layer) == SLIDING
