"""BiT's image processor, which DINOv2 uses: CLIP's steps under another name."""

from __future__ import annotations

from tfcli.processors.images.clip import CLIPImageProcessor
from tfcli.processors.images.processor import ImageProcessor


class BitImageProcessor(ImageProcessor):
    """`pixel_values`, [b, 3, 224, 224]."""

    names = ("BitImageProcessor",)
    defaults = CLIPImageProcessor.defaults
