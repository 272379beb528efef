"""Every image processor beside transformers', over images of every kind."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch

from tests.processors.images.parity import assert_same, theirs
from tests.processors.images.pictures import colourful, drawn, of_every_mode

SQUARE = {"height": 32, "width": 32}
PINPOINTS = [[32, 64], [64, 32], [64, 64], [96, 32], [32, 96]]
SCAN = {
    "do_pan_and_scan": True,
    "pan_and_scan_min_crop_size": 8,
    "pan_and_scan_max_num_crops": 4,
    "pan_and_scan_min_ratio_to_activate": 1.2,
}
SHORT = {"size": {"shortest_edge": 32}, "crop_size": SQUARE}
# Class -> its module, and settings that make it small.
SMALL = {
    "CLIPImageProcessor": ("clip", SHORT),
    "ViTImageProcessor": ("vit", {"size": SQUARE}),
    "DeiTImageProcessor": ("deit", {"size": {"height": 40, "width": 40}, "crop_size": SQUARE}),
    "BitImageProcessor": ("bit", SHORT),
    "SiglipImageProcessor": ("siglip", {"size": SQUARE}),
    "Siglip2ImageProcessor": ("siglip2", {"patch_size": 4, "max_num_patches": 30}),
    "LlavaImageProcessor": ("llava", SHORT),
    "LlavaNextImageProcessor": ("llava_next", SHORT | {"image_grid_pinpoints": PINPOINTS}),
    "Gemma3ImageProcessor": ("gemma3", {"size": SQUARE}),
    "Qwen2VLImageProcessor": (
        "qwen2_vl",
        {"patch_size": 4, "size": {"shortest_edge": 400, "longest_edge": 4000}},
    ),
}
# Class -> settings over those, each with an effect of its own.
VARIANTS = {
    "ViTImageProcessor": [{"do_convert_rgb": True, "resample": 3}],
    "SiglipImageProcessor": [{"size": {"height": 21, "width": 50}}],
    "Siglip2ImageProcessor": [
        {"patch_size": 3, "max_num_patches": 101},
        {"max_num_patches": 1},
        {"do_normalize": False},
    ],
    "LlavaImageProcessor": [{"do_pad": True}, {"do_pad": True, "image_mean": [0.1, 0.9, 0.5]}],
    "LlavaNextImageProcessor": [
        {"size": SQUARE},
        {"size": {"height": 24, "width": 40}, "crop_size": {"height": 20, "width": 28}},
        {"image_grid_pinpoints": [[50, 70], [20, 90]]},
        {"do_normalize": False, "do_rescale": False},
    ],
    "Gemma3ImageProcessor": [SCAN, SCAN | {"pan_and_scan_max_num_crops": 3}, {"size": 20}],
    "Qwen2VLImageProcessor": [
        {"merge_size": 1, "temporal_patch_size": 3},
        {"size": {"shortest_edge": 30_000, "longest_edge": 40_000}},
        {"do_normalize": False},
    ],
}


def made(name, **settings):
    module, small = SMALL[name]
    ours = getattr(import_module(f"tfcli.processors.images.{module}"), name)
    return ours(**small | settings), theirs(name, **small | settings)


@pytest.mark.parametrize("name", SMALL)
def test_images_of_every_kind(name):
    ours, other = made(name)
    images = colourful() if not ours.settings.do_convert_rgb else colourful() | of_every_mode()
    for image in images.values():
        assert_same(ours, other, image)


@pytest.mark.parametrize("name", SMALL)
def test_several_images_at_once(name):
    """Of one kind, where a processor does not make them one size by itself."""
    ours, other = made(name)
    found = assert_same(ours, other, list(colourful().values()))
    assert set(found) == set(ours.inputs)


@pytest.mark.parametrize("name", SMALL)
def test_the_defaults(name):
    module, _ = SMALL[name]
    ours = getattr(import_module(f"tfcli.processors.images.{module}"), name)
    assert_same(ours(), theirs(name), [drawn(350, 170), drawn(120, 260)])


@pytest.mark.parametrize("name", VARIANTS)
def test_settings_of_the_file_and_of_the_call(name):
    for settings in VARIANTS[name]:
        ours, other = made(name, **settings)
        plain, _ = made(name)
        for image in colourful().values():
            stored = assert_same(ours, other, image)
            called = plain(image, **settings)
            assert all(torch.equal(stored[key], called[key]) for key in stored)


@pytest.mark.parametrize("name", SMALL)
def test_saved_files_are_read_by_both(name, tmp_path):
    ours, other = made(name, **VARIANTS.get(name, [{}])[0])
    ours.save_pretrained(tmp_path)
    assert_same(ours, type(other).from_pretrained(tmp_path), drawn(90, 50))
    assert type(ours).from_config(ours.config()).settings == ours.settings
    assert type(ours).from_config(other.to_dict()).settings == ours.settings
