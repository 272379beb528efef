"""SigLIP's image processor, which PaliGemma uses: the whole image, squeezed into a square."""

from __future__ import annotations

from tfcli.processors.images.processor import ImageProcessor
from tfcli.processors.images.resize import BICUBIC
from tfcli.processors.images.scale import STANDARD_MEAN, STANDARD_STD
from tfcli.processors.images.settings import ImageSettings
from tfcli.processors.images.size import Size


class SiglipImageProcessor(ImageProcessor):
    """`pixel_values`, [b, 3, 224, 224]."""

    names = ("SiglipImageProcessor",)
    defaults = ImageSettings(
        do_convert_rgb=True,
        do_resize=True,
        size=Size(height=224, width=224),
        default_to_square=False,
        resample=BICUBIC,
        do_rescale=True,
        do_normalize=True,
        image_mean=STANDARD_MEAN,
        image_std=STANDARD_STD,
    )
