"""DeiT's image processor: squeezed into a square, of which the middle stays."""

from __future__ import annotations

from tfcli.processors.images.processor import ImageProcessor
from tfcli.processors.images.resize import BICUBIC
from tfcli.processors.images.scale import STANDARD_MEAN, STANDARD_STD
from tfcli.processors.images.settings import ImageSettings
from tfcli.processors.images.size import Size


class DeiTImageProcessor(ImageProcessor):
    """`pixel_values`, [b, c, 224, 224]; greys keep their one channel unless told otherwise."""

    names = ("DeiTImageProcessor", "DeiTFeatureExtractor")
    defaults = ImageSettings(
        do_resize=True,
        size=Size(height=256, width=256),
        resample=BICUBIC,
        do_center_crop=True,
        crop_size=Size(height=224, width=224),
        do_rescale=True,
        do_normalize=True,
        image_mean=STANDARD_MEAN,
        image_std=STANDARD_STD,
    )
