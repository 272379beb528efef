"""Qwen2-VL's video processor beside its image processor, and beside its definition.

transformers' own needs torchvision. Its resizing of bytes rounds as Pillow's does, so what is
compared with it elsewhere, images, holds for frames.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.processors.images.pictures import drawn
from tfcli.errors import UsageError, WorkError
from tfcli.processors.images.qwen2_vl import Qwen2VLImageProcessor
from tfcli.processors.images.qwen2_vl_video import Qwen2VLVideoProcessor
from tfcli.processors.images.resize import BICUBIC, resize

SMALL = {"patch_size": 4, "size": {"shortest_edge": 64, "longest_edge": 4096}}


def frames(count, width=40, height=24):
    return [drawn(width, height).rotate(30 * n) for n in range(count)]


def test_two_equal_frames_are_an_image():
    image = drawn(70, 45)
    found = Qwen2VLVideoProcessor(**SMALL)([image, image])
    expected = Qwen2VLImageProcessor(**SMALL)(image)
    assert torch.equal(found.pixel_values_videos, expected.pixel_values)
    assert torch.equal(found.video_grid_thw, expected.image_grid_thw)


def test_the_order_of_patches():
    """Squares of patches that are merged lie together; within a patch, channels come first."""
    video = torch.rand(4, 3, 16, 24)
    ours = Qwen2VLVideoProcessor(**SMALL, do_resize=False, do_rescale=False, do_normalize=False)
    found = ours(video)
    assert found.video_grid_thw.tolist() == [[2, 4, 6]]
    rows = iter(found.pixel_values_videos)
    for time, top, left, below, right in itertools.product(
        range(2), range(2), range(3), range(2), range(2)
    ):
        y, x = (top * 2 + below) * 4, (left * 2 + right) * 4
        patch = video[time * 2 : time * 2 + 2, :, y : y + 4, x : x + 4]
        assert torch.equal(next(rows), patch.transpose(0, 1).flatten())
    assert next(rows, None) is None


def test_several_videos_of_every_form():
    ours = Qwen2VLVideoProcessor(**SMALL)
    one, other = frames(4), frames(3, 30, 50)
    arrays = [np.stack([np.asarray(frame) for frame in video]) for video in (one, other)]
    found = ours([one, other])
    assert found.video_grid_thw[:, 0].tolist() == [2, 2]
    assert len(found.pixel_values_videos) == found.video_grid_thw.prod(1).sum()
    for same in (arrays, [torch.from_numpy(each.transpose(0, 3, 1, 2)) for each in arrays]):
        assert torch.equal(ours(same).pixel_values_videos, found.pixel_values_videos)
    for same in (one, arrays[0], arrays[0][None], [one]):
        assert torch.equal(ours(same).video_grid_thw, found.video_grid_thw[:1])
    repeated = ours([*other, other[-1]])
    assert torch.equal(repeated.pixel_values_videos, ours(other).pixel_values_videos)


def test_resizing_is_that_of_torch():
    """torchvision resizes bytes by this function; it differs by one step in a few pixels."""
    pixels = torch.from_numpy(np.array(drawn(90, 61))).permute(2, 0, 1)
    for size in ((32, 40), (100, 130)):
        found = resize(pixels, size, BICUBIC)
        other = F.interpolate(pixels[None], size, mode="bicubic", antialias=True)[0]
        assert (found.int() - other.int()).abs().max() <= 1


def test_files_and_what_is_not_built(tmp_path):
    ours = Qwen2VLVideoProcessor.from_config({"min_pixels": 200, "max_pixels": 900, "fps": 2.0})
    assert ours.settings.size.written() == {"shortest_edge": 200, "longest_edge": 900}
    ours.save_pretrained(tmp_path)
    again = Qwen2VLVideoProcessor.from_pretrained(tmp_path)
    assert again.settings == ours.settings and again.others["fps"] == 2.0
    for key in ("do_sample_frames", "cap_pixels_per_frame"):
        with pytest.raises(UsageError, match="not built"):
            ours(frames(2), **{key: True})
    with pytest.raises(WorkError, match="different sizes"):
        ours([drawn(40, 40), drawn(40, 50)])
    for nothing in ([], None, "film.mp4"):
        with pytest.raises(UsageError, match="no video"):
            ours(nothing)
    with pytest.raises(WorkError, match="at most are made"):
        Qwen2VLVideoProcessor()(np.zeros((2, 784, 784, 3), np.uint8).repeat(40, 0))
