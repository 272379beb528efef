"""Qwen3-MoE (Qwen team 2025): norms on the heads of queries and keys, and no shared expert.

Reference: transformers `modeling_qwen3_moe.py`; for the names of modules see `sparse`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.qwen3_moe import Qwen3MoeConfig
from tfcli.models.text.sparse import ATTENTION, DENSE, EXPERTS, BalancedModel


class Qwen3MoeModel(BalancedModel):
    """Llama's body with Qwen3's attention, and mixtures in some layers or all."""

    config: Qwen3MoeConfig

    prefixes: ClassVar[dict[str, str]] = {"question-answering": "transformer"}
    walk = CalibrationWalk(blocks="layers", groups=(*ATTENTION, *EXPERTS, *DENSE), varies=True)

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {**super().attention_options(layer), **self.head_norms()}
