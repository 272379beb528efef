"""OLMo 3's config (transformers: Olmo3Config)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.configs.olmo2 import Olmo2Config
from tfcli.models.configs.rope import read_layer_rope
from tfcli.models.configs.windows import FULL, SLIDING, LayerRopeConfig

# Older files have one base for all layers, and stretch those that see all keys.
_BASES = {FULL: ("rope_theta", 500000.0), SLIDING: (None, 500000.0)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Olmo3Config(Olmo2Config, LayerRopeConfig):
    """OLMo 3. Every fourth layer sees all keys; the others have a window and own positions."""

    model_type: ClassVar[str] = "olmo3"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = Olmo2Config.fixed
    bases = _BASES

    rope_parameters: dict[str, Any] = dataclasses.field(
        default_factory=lambda: read_layer_rope({}, _BASES)
    )

    def slides(self, layer: int) -> bool:
        return (layer + 1) % 4 != 0
