"""GLM-4.5 (Zhipu 2025): DeepSeek-V3's mixtures, positions in the first part of each head.

Reference: transformers `modeling_glm4_moe.py`; for the names of modules see `sparse`. The layers
that predict further tokens, which checkpoints hold, are not built.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.glm4_moe import Glm4MoeConfig
from tfcli.models.text.sparse import ATTENTION, DENSE, EXPERTS, SHARED, GroupedModel


class Glm4MoeModel(GroupedModel):
    """Llama's body with mixtures after the first layers."""

    config: Glm4MoeConfig

    ignorable: ClassVar[dict[str, str]] = {
        **GroupedModel.ignorable,
        # transformers skips the same numbers: both know the depths of GLM-4.5 and of Air only.
        r"^(model\.)?layers\.(46|92)\.": "part of a layer that predicts a further token",
    }
    walk = CalibrationWalk(
        blocks="layers", groups=(*ATTENTION, *EXPERTS, *SHARED, *DENSE), varies=True
    )

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        norms = self.head_norms() if self.config.use_qk_norm else {}
        return {**super().attention_options(layer), "out_bias": False, **norms}
