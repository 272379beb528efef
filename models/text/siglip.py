"""SigLIP's tower for texts (Zhai et al. 2023): both ways, pooled at the last token.

Reference: transformers `modeling_siglip.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tfcli.models.configs.siglip import SiglipTextConfig
from tfcli.models.layers.linear import linear
from tfcli.models.text.clip import TextTower
from tfcli.models.vision.siglip import siglip_values


class SiglipTextModel(TextTower[SiglipTextConfig]):
    """The text as a whole is the last state through a linear, also where that is padding.

    Texts were padded to `max_position_embeddings` in training, and no padding was masked.
    """

    causal = False

    def __init__(self, config: SiglipTextConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.head = linear(config.hidden_size, config.projected, bias=True)

    def pooler_output(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        return self.head(x[:, -1])

    def init_std(self, name: str) -> float:
        return float(self.config.hidden_size**-0.5)

    def drawn(self, name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor | None:
        return siglip_values(name, shape, random)
