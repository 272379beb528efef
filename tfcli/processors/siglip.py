"""The processors of SigLIP and SigLIP 2: text and images, each for its own tower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tfcli.processors.joint import JointProcessor


class SiglipProcessor(JointProcessor):
    """`input_ids`, `attention_mask`, `pixel_values`."""

    names = ("SiglipProcessor",)


class Siglip2Processor(JointProcessor):
    """`input_ids`, `attention_mask`, and what `Siglip2ImageProcessor` gives.

    Texts are cut and filled to 64 ids where a call does not say otherwise.
    """

    names = ("Siglip2Processor",)
    text_defaults: ClassVar[Mapping[str, Any]] = {
        "padding": "max_length",
        "truncation": True,
        "max_length": 64,
    }
