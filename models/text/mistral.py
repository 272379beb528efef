"""Mistral (Jiang et al. 2023): Llama's body, without biases, with a sliding window.

Reference: transformers `modeling_mistral.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import ClassVar

from tfcli.models.text.llama import LlamaModel


class MistralModel(LlamaModel):
    """The window is the config's, see `TextConfig.window`."""

    prefixes: ClassVar[dict[str, str]] = {}
