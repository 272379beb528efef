"""CLIP's processor: text and images, each for its own tower."""

from __future__ import annotations

from tfcli.processors.joint import JointProcessor


class CLIPProcessor(JointProcessor):
    """`input_ids`, `attention_mask`, `pixel_values`."""

    names = ("CLIPProcessor",)
