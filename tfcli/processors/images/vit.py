"""ViT's image processor: the whole image, squeezed into a square."""

from __future__ import annotations

from tfcli.processors.images.processor import ImageProcessor
from tfcli.processors.images.resize import BILINEAR
from tfcli.processors.images.scale import STANDARD_MEAN, STANDARD_STD
from tfcli.processors.images.settings import ImageSettings
from tfcli.processors.images.size import Size


class ViTImageProcessor(ImageProcessor):
    """`pixel_values`, [b, c, 224, 224]; greys keep their one channel unless told otherwise."""

    names = ("ViTImageProcessor", "ViTFeatureExtractor")
    defaults = ImageSettings(
        do_resize=True,
        size=Size(height=224, width=224),
        resample=BILINEAR,
        do_rescale=True,
        do_normalize=True,
        image_mean=STANDARD_MEAN,
        image_std=STANDARD_STD,
    )
