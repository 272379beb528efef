"""One linear's weight after quantization, and its tensors in the GPTQ layout."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.models.layers.gptq_layout import pack, pack_zeros


@dataclass(frozen=True)
class QuantizedWeight:
    """Levels, scales and zero points of a linear with `m` outputs, `n` inputs and `g` groups.

    Args:
        levels (Tensor): uint8 [m, n].
        scales (Tensor): fp32 [m, g], values that fp16 holds exactly.
        zeros (Tensor): uint8 [m, g].
        group_index (Tensor): int32 [n], the group of each input.
        bits: the width of a level.
        checkpoint_format: the version of the layout, "gptq" or "gptq_v2".
    """

    levels: Tensor
    scales: Tensor
    zeros: Tensor
    group_index: Tensor
    bits: int
    checkpoint_format: str

    def dequantize(self) -> Tensor:
        """The weight that readers of the checkpoint compute with: fp32 [m, n]."""
        index = self.group_index.long()
        return (self.levels.float() - self.zeros[:, index]) * self.scales[:, index]

    def tensors(self) -> dict[str, Tensor]:
        """The four tensors of the layout (qweight, qzeros, scales, g_idx)."""
        return {
            "qweight": pack(self.levels.t(), self.bits),
            "qzeros": pack_zeros(
                self.zeros.t(), self.bits, checkpoint_format=self.checkpoint_format
            ),
            "scales": self.scales.t().to(torch.float16).contiguous(),
            "g_idx": self.group_index,
        }
