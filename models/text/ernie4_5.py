"""ERNIE 4.5 (Baidu 2025), dense: Llama with interleaved rotary positions.

Reference: transformers `modeling_ernie4_5.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from tfcli.models.text.llama import LlamaModel


class Ernie45Model(LlamaModel):
    """Biases are the config's, see `RotaryConfig.attention_bias`."""

    interleaved = True
