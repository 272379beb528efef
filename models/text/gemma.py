"""Gemma (Gemma team 2024): scaled embeddings, norms whose weights are stored less 1.

Reference: transformers `modeling_gemma.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.layers.norms import OffsetRMSNorm
from tfcli.models.text.llama import LlamaModel


class GemmaModel(LlamaModel):
    """Llama's body with Gemma's embeddings and norms."""

    prefixes: ClassVar[dict[str, str]] = {}

    def make_norm(self) -> nn.Module:
        """See `LlamaModel.make_norm`."""
        return OffsetRMSNorm(self.config.hidden_size, self.config.rms_norm_eps)

    def embed(self, **inputs: Any) -> torch.Tensor:
        """Rows of the table times sqrt(d). Embeddings of the caller are taken as they are."""
        x = super().embed(**inputs)
        return x if inputs.get("inputs_embeds") is not None else self.scaled(x)

    def scaled(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] times sqrt(d), which the reference rounds to the same dtype."""
        return x * torch.tensor(self.config.hidden_size**0.5, dtype=x.dtype)

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        """Norms begin at 0, which multiplies by 1."""
        return torch.zeros(shape) if name.endswith("norm.weight") else None
