"""DeepSeek-V3 (DeepSeek-AI 2024): latent attention, group-limited routing, shared experts.

Reference: transformers `modeling_deepseek_v3.py`; for the names of modules see `sparse`. The layers
that predict further tokens, which some checkpoints hold, are not built.
"""

from __future__ import annotations

from typing import ClassVar

from tfcli.models.configs.deepseek_v3 import DeepseekV3Config
from tfcli.models.text.latent import LatentModel
from tfcli.models.text.sparse import GroupedModel


class DeepseekV3Model(LatentModel, GroupedModel):
    """Llama's body with latent attention, and mixtures after the first layers."""

    config: DeepseekV3Config

    ignorable: ClassVar[dict[str, str]] = {
        **GroupedModel.ignorable,
        # transformers skips the same number: both know V3's depth only.
        r"^(model\.)?layers\.61\.": "part of a layer that predicts a further token",
    }
