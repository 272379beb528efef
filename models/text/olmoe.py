"""OLMoE (Muennighoff et al. 2024): experts in every layer, norms over all queries and keys.

Reference: transformers `modeling_olmoe.py`; for the names of modules see `sparse`.
"""

from __future__ import annotations

from typing import Any

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.olmoe import OlmoeConfig
from tfcli.models.text.sparse import ATTENTION, EXPERTS, BalancedModel


class OlmoeModel(BalancedModel):
    """Llama's body with OLMoE's attention, and mixtures in every layer."""

    config: OlmoeConfig

    walk = CalibrationWalk(blocks="layers", groups=(*ATTENTION, *EXPERTS))

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        options = super().attention_options(layer)
        return {**options, **self.whole_norms(), "clip": self.config.clip_qkv}
