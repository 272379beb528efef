"""Settings and images that would take more memory than any model's input, or that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.processors.images.pictures import drawn
from tfcli.errors import UsageError, WorkError
from tfcli.processors.images.clip import CLIPImageProcessor
from tfcli.processors.images.gemma3 import Gemma3ImageProcessor
from tfcli.processors.images.llava import LlavaImageProcessor
from tfcli.processors.images.llava_next import LlavaNextImageProcessor
from tfcli.processors.images.qwen2_vl import Qwen2VLImageProcessor
from tfcli.processors.images.siglip2 import Siglip2ImageProcessor

LARGE = {"height": 1 << 16, "width": 1 << 16}


@pytest.mark.parametrize(
    ("processor", "settings"),
    [
        (CLIPImageProcessor, {"size": LARGE}),
        (CLIPImageProcessor, {"crop_size": LARGE}),
        (CLIPImageProcessor, {"do_pad": True, "pad_size": LARGE}),
        (CLIPImageProcessor, {"size": {"shortest_edge": 1 << 30}}),
        (LlavaNextImageProcessor, {"image_grid_pinpoints": [[1 << 16, 1 << 16]]}),
        (LlavaNextImageProcessor, {"image_grid_pinpoints": [[4096, 4096]], "crop_size": 1}),
        (
            LlavaNextImageProcessor,
            {
                "image_grid_pinpoints": [[30, 30]],
                "crop_size": 1,
                "do_center_crop": False,
                "size": 999,
            },
        ),
        (Gemma3ImageProcessor, {"size": LARGE}),
        (Siglip2ImageProcessor, {"max_num_patches": 1 << 30}),
        (Siglip2ImageProcessor, {"patch_size": 1 << 20}),
        (Qwen2VLImageProcessor, {"size": {"shortest_edge": 1 << 40, "longest_edge": 1 << 41}}),
        (Qwen2VLImageProcessor, {"temporal_patch_size": 1 << 30}),
    ],
)
def test_a_files_settings_take_no_gigabytes(processor, settings):
    with pytest.raises(WorkError, match="at most are made"):
        processor.from_config(settings)(drawn(40, 30))


def test_neither_does_an_image():
    narrow = np.zeros((1, 200_000, 3), np.uint8)
    with pytest.raises(WorkError, match="at most are made"):
        CLIPImageProcessor()(narrow)
    with pytest.raises(WorkError, match="at most are made"):
        LlavaImageProcessor(do_pad=True)(narrow)
    with pytest.raises(WorkError, match="200 times"):
        Qwen2VLImageProcessor()(narrow)
    with pytest.raises(WorkError, match="would be resized to 19 x 0"):
        CLIPImageProcessor(size={"shortest_edge": 10, "longest_edge": 20})(narrow)


@pytest.mark.parametrize(
    ("processor", "settings", "key"),
    [
        (LlavaNextImageProcessor, {"image_grid_pinpoints": []}, "image_grid_pinpoints"),
        (LlavaNextImageProcessor, {"image_grid_pinpoints": [[3]]}, "image_grid_pinpoints"),
        (LlavaNextImageProcessor, {"image_grid_pinpoints": [[0, 3]]}, "image_grid_pinpoints"),
        (LlavaNextImageProcessor, {"size": {"max_height": 3, "max_width": 3}}, "size"),
        (Gemma3ImageProcessor, {"do_pan_and_scan": True}, "pan_and_scan_min_crop_size"),
        (Gemma3ImageProcessor, {"pan_and_scan_max_num_crops": 5000}, "pan_and_scan_max_num_crops"),
        (Siglip2ImageProcessor, {"patch_size": 0}, "patch_size"),
        (Qwen2VLImageProcessor, {"merge_size": 0}, "merge_size"),
        (Qwen2VLImageProcessor, {"size": {"shortest_edge": 5}}, "size"),
        (Qwen2VLImageProcessor, {"patch_size": 14.0}, "patch_size"),
    ],
)
def test_a_setting_that_nothing_can_be_made_with(processor, settings, key):
    with pytest.raises(WorkError) as caught:
        processor.from_config(settings, "file.json")
    assert caught.value.where == f"file.json, {key}"
    with pytest.raises(UsageError) as caught:
        processor()(drawn(9, 9), **settings)
    assert caught.value.where == key


def test_images_that_are_not_resized_have_to_fit():
    with pytest.raises(WorkError, match="does not divide into patches of 16"):
        Siglip2ImageProcessor(do_resize=False)(drawn(32, 40))
    with pytest.raises(WorkError, match="6 x 5 patches; max_num_patches is 29"):
        Siglip2ImageProcessor(do_resize=False, max_num_patches=29)(drawn(80, 96))
    with pytest.raises(WorkError, match="does not divide into patches of 28"):
        Qwen2VLImageProcessor(do_resize=False)(drawn(28, 42))
    with pytest.raises(WorkError, match="which is smaller"):
        CLIPImageProcessor(do_pad=True, pad_size=9)(drawn(40, 40))
