"""Language modelling of texts among whose tokens are features of other media."""

from __future__ import annotations

from tfcli.models.heads.causal_lm import CausalLM


class ImageTextToText(CausalLM):
    """`CausalLM` on a composite backbone, which takes media beside the tokens."""

    task = "image-text-to-text"
