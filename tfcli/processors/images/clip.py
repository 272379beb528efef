"""CLIP's image processor: the shorter side to 224, and the square in the middle."""

from __future__ import annotations

from tfcli.processors.images.processor import ImageProcessor
from tfcli.processors.images.resize import BICUBIC
from tfcli.processors.images.scale import CLIP_MEAN, CLIP_STD
from tfcli.processors.images.settings import ImageSettings
from tfcli.processors.images.size import Size


class CLIPImageProcessor(ImageProcessor):
    """`pixel_values`, [b, 3, 224, 224]."""

    names = ("CLIPImageProcessor", "CLIPFeatureExtractor")
    defaults = ImageSettings(
        do_convert_rgb=True,
        do_resize=True,
        size=Size(shortest_edge=224),
        default_to_square=False,
        resample=BICUBIC,
        do_center_crop=True,
        crop_size=Size(height=224, width=224),
        do_rescale=True,
        do_normalize=True,
        image_mean=CLIP_MEAN,
        image_std=CLIP_STD,
    )
