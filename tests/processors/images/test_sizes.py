"""The sizes that processors choose, beside transformers' functions, over thousands of images."""

from __future__ import annotations

import random

import pytest
from transformers.image_processing_utils import select_best_resolution
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.image_utils import get_image_size_for_max_height_width
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from transformers.models.siglip2.image_processing_pil_siglip2 import (
    get_image_size_for_max_num_patches,
)

from tfcli.errors import WorkError
from tfcli.models.multimodal.anyres import best_resolution
from tfcli.processors.images.qwen2_vl import Qwen2VLImageProcessor, within_pixels
from tfcli.processors.images.siglip2 import fitting_size
from tfcli.processors.images.size import Size, exact, read_size, resized


@pytest.fixture(scope="module")
def sides():
    """Heights and widths from 1 to 3,000, small ones as often as large ones."""
    drawn = random.Random(0)
    return [tuple(round(3000 ** drawn.random()) for _ in range(2)) for _ in range(2000)]


def test_shortest_and_longest_edge(sides):
    for height, width in sides:
        found = resized(Size(shortest_edge=300, longest_edge=500), height, width)
        assert found == get_size_with_aspect_ratio((height, width), 300, 500)


def test_largest_that_fits(sides):
    for height, width in sides:
        found = resized(Size(max_height=300, max_width=500), height, width)
        assert found == get_image_size_for_max_height_width((height, width), 300, 500)


def test_patches_at_most(sides):
    for height, width in sides:
        for patch, most in ((16, 256), (14, 1024), (3, 10)):
            expected = get_image_size_for_max_num_patches(height, width, patch, most)
            assert fitting_size(height, width, patch, most) == expected


def test_pixels_between(sides):
    bounds = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}
    settings = Qwen2VLImageProcessor(size=bounds).settings
    for height, width in sides:
        if max(height, width) <= 200 * min(height, width):
            expected = smart_resize(height, width, 28, *bounds.values())
            assert within_pixels(height, width, settings) == expected


def test_resolutions(sides):
    choices = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
    for height, width in sides:
        expected = select_best_resolution((height, width), choices)
        assert best_resolution(height, width, choices) == expected


def test_spellings():
    assert read_size(5, "size") == Size(height=5, width=5)
    assert read_size(5, "size", square=False) == Size(shortest_edge=5)
    assert read_size([4, 5], "size") == Size(height=4, width=5)
    assert read_size(None, "size") is None
    assert read_size({"max_height": 1, "max_width": 2}, "size").written() == {
        "max_height": 1,
        "max_width": 2,
    }
    for wrong in (
        True,
        "5",
        [5],
        [1, 2, 3],
        {"height": 5},
        {"edge": 5},
        {},
        0,
        {"shortest_edge": 0},
    ):
        with pytest.raises(WorkError):
            read_size(wrong, "size")
    with pytest.raises(WorkError, match="must say height and width"):
        exact(Size(shortest_edge=5), "crop_size")
    with pytest.raises(WorkError, match="no size that this processor resizes to"):
        resized(Size(longest_edge=5), 10, 10)
