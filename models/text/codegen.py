"""CodeGen (Nijkamp et al. 2022): GPT-J with one linear for queries, values and keys.

Reference: transformers `modeling_codegen.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

import torch

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.codegen import SHARDS
from tfcli.models.folding import span
from tfcli.models.layers.attention import RotaryAttention
from tfcli.models.layers.linear import linear
from tfcli.models.text.gptj import GPTJModel


class CodeGenAttention(RotaryAttention):
    """Rotary attention whose rows come in shards: queries, values and keys of a shard's heads."""

    out = "out_proj"

    def add_projections(self, hidden_size: int, width: int, kv_width: int, bias: bool) -> None:
        """See `RotaryAttention.add_projections`."""
        self.qkv_proj = linear(hidden_size, 3 * width, bias)

    def heads(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `RotaryAttention.heads`."""
        shards = self.qkv_proj(x).view(*x.shape[:2], SHARDS, 3, -1, self.head_dim)
        query, value, key = (
            part.flatten(2, 3).transpose(1, 2) for part in shards.unbind(3)
        )  # each [b, heads, s, head_dim]
        return query, key, value

    @property
    def reads(self) -> tuple[str, ...]:
        """See `folding`."""
        return ("qkv_proj",)

    def value_rows(self) -> tuple[str, torch.Tensor | None]:
        """See `RotaryAttention.value_rows`."""
        rows = span(0, self.qkv_proj.get_parameter("weight").shape[0])
        return "qkv_proj", rows.view(SHARDS, 3, -1)[:, 1].flatten()


class CodeGenModel(GPTJModel):
    """GPT-J's body with CodeGen's attention."""

    attention_class = CodeGenAttention
    walk = CalibrationWalk(
        blocks="h",
        groups=(
            ("attn.qkv_proj",),
            ("attn.out_proj",),
            ("mlp.fc_in",),
            ("mlp.fc_out",),
        ),
    )
