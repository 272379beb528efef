"""CLIP's image processor beside transformers', and what all processors share."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tests.processors.images.parity import assert_same, theirs
from tests.processors.images.pictures import colourful, drawn, of_every_mode
from tfcli.errors import UsageError, WorkError
from tfcli.processors.images.clip import CLIPImageProcessor


def small(**settings):
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 30, "width": 28}}
    return sizes | settings


@pytest.mark.parametrize("name", [*colourful(), *of_every_mode()])
def test_every_image_as_transformers_has_it(name):
    image = {**of_every_mode(), **colourful()}[name]
    assert_same(CLIPImageProcessor(**small()), theirs("CLIPImageProcessor", **small()), image)


def test_the_defaults_are_those_of_transformers():
    found = assert_same(CLIPImageProcessor(), theirs("CLIPImageProcessor"), drawn(300, 200))
    assert found.pixel_values.shape == (1, 3, 224, 224)


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 20},
        {"size": [20, 31]},
        {"size": {"shortest_edge": 20, "longest_edge": 33}},
        {"size": {"max_height": 40, "max_width": 50}},
        {"size": {"height": 35, "width": 50}, "resample": 2},
        {"crop_size": 17},
        {"crop_size": {"height": 51, "width": 18}},
        {"do_resize": False},
        {"do_rescale": False},
        {"do_normalize": False},
        {"do_normalize": False, "do_rescale": False},
        {"do_center_crop": False, "size": [24, 24]},
        {"rescale_factor": 1 / 127.5, "image_mean": [1.0, 1.0, 1.0], "image_std": 0.5},
        {"do_pad": True, "pad_size": {"height": 64, "width": 70}},
        *({"resample": filter} for filter in range(6)),
    ],
    ids=str,
)
@pytest.mark.parametrize("image", ["odd", "tall", "wide"])
def test_each_setting_has_the_effect_that_it_has_in_transformers(settings, image):
    """In the file and in a call alike."""
    image = colourful()[image]
    ours, other = CLIPImageProcessor(**small()), theirs("CLIPImageProcessor", **small())
    if "resample" in settings or "do_pad" in settings:  # the other's own checks of a call differ
        other = theirs("CLIPImageProcessor", **small(**settings))
        torch.testing.assert_close(ours(image, **settings), ours(image, **settings))
        assert_same(CLIPImageProcessor(**small(**settings)), other, image)
        return
    called = assert_same(ours, other, image, **settings)
    stored = CLIPImageProcessor(**small(**settings))(image)
    assert torch.equal(called.pixel_values, stored.pixel_values)


def test_a_setting_of_the_call_counts_before_the_files_and_null_says_nothing_in_a_file():
    file = {"do_center_crop": None, "do_resize": False, "crop_size": 9, "image_mean": None}
    ours = CLIPImageProcessor.from_config(file)
    assert ours(drawn(20, 20)).pixel_values.shape[-2:] == (9, 9)
    assert ours(drawn(20, 20), crop_size=5).pixel_values.shape[-2:] == (5, 5)
    assert ours(drawn(20, 20), do_center_crop=None).pixel_values.shape[-2:] == (20, 20)
    assert ours.settings.crop_size.height == 9  # the call has changed nothing


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_arrays_of_every_type_and_layout(dtype):
    image = np.asarray(drawn(50, 40)).astype(dtype)
    if dtype == np.float64:
        image = image / 255
    ours = CLIPImageProcessor(**small())
    other = theirs("CLIPImageProcessor", **small())
    for array in (image, image.transpose(2, 0, 1), np.stack([image, image])):
        assert_same(ours, other, array)
        assert_same(ours, other, torch.from_numpy(np.ascontiguousarray(array)))
    assert_same(ours, other, image[:3], input_data_format="channels_last")


def test_grey_and_transparent_arrays():
    ours, other = CLIPImageProcessor(**small()), theirs("CLIPImageProcessor", **small())
    transparent = np.asarray(drawn(50, 40, "RGBA"))
    for array in (transparent[..., :1], transparent, transparent / 255.0):
        assert_same(ours, other, array)
    assert_same(ours, other, [transparent, transparent[:20]])


def test_lists_in_lists_and_files(tmp_path):
    ours, other = CLIPImageProcessor(**small()), theirs("CLIPImageProcessor", **small())
    drawn(40, 50, "RGBA").save(tmp_path / "picture.png")
    assert_same(ours, other, [[drawn(30, 40)], [drawn(50, 30), drawn(9, 9)]])
    from_path = assert_same(ours, other, str(tmp_path / "picture.png"))
    data = (tmp_path / "picture.png").read_bytes()
    for same in (data, tmp_path / "picture.png", [[data]]):
        assert torch.equal(ours(same).pixel_values, from_path.pixel_values)


def test_a_file_is_written_back_with_the_keys_that_are_unknown(tmp_path):
    file = small(size=32, processor_class="CLIPProcessor", mine={"a": [1]}, resample=2)
    ours = CLIPImageProcessor.from_config(
        {**file, "feature_extractor_type": "CLIPFeatureExtractor"}
    )
    ours.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved["mine"] == {"a": [1]} and saved["processor_class"] == "CLIPProcessor"
    assert saved["image_processor_type"] == "CLIPImageProcessor"
    assert "feature_extractor_type" not in saved
    other = type(theirs("CLIPImageProcessor")).from_pretrained(tmp_path)
    assert_same(ours, other, drawn(80, 60))
    again = CLIPImageProcessor.from_config(saved)
    assert again.settings == ours.settings


def test_what_a_file_may_not_say():
    for file, words in (
        ({"do_resize": "yes"}, "do_resize"),
        ({"size": {"height": 3}}, "size"),
        ({"size": -1}, "size.shortest_edge"),
        ({"crop_size": {"height": 0, "width": 3}}, "crop_size.height"),
        ({"resample": 9}, "resample"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std"),
        ({"image_mean": ["a"]}, "image_mean"),
        ({"do_pad": True}, "pad_size"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order"),
        ({"size_divisor": 32}, "size_divisor"),
    ):
        with pytest.raises(WorkError, match=words) as caught:
            CLIPImageProcessor.from_config(file, "some/preprocessor_config.json")
        assert "some/preprocessor_config.json" in caught.value.where
    CLIPImageProcessor.from_config({"do_flip_channel_order": False})


def test_what_a_call_may_not_say():
    ours = CLIPImageProcessor(**small())
    with pytest.raises(UsageError, match="did you mean 'do_resize'"):
        ours(drawn(9, 9), do_rezise=False)
    with pytest.raises(UsageError, match="do_rescale"):
        ours(drawn(9, 9), do_rescale=3)
    with pytest.raises(UsageError, match="only tensors of torch"):
        ours(drawn(9, 9), return_tensors="np")
    with pytest.raises(UsageError, match="there is no image"):
        ours([])
    with pytest.raises(UsageError, match=r"images\[1\]"):
        ours([drawn(9, 9), 3])
    with pytest.raises(WorkError, match="different shapes"):
        ours([drawn(9, 9), drawn(9, 20)], do_center_crop=False)
    with pytest.raises(WorkError, match="4 channels, and image_mean 3"):
        ours(drawn(9, 9, "RGBA"), do_convert_rgb=False)
    with pytest.raises(UsageError, match="mode 'P'"):
        ours(drawn(9, 9).quantize(4), do_convert_rgb=False)
    for array in (
        np.zeros((4, 4), "bool"),
        np.zeros((5, 5, 5)),
        np.zeros((3, 0, 4)),
        np.array("x"),
    ):
        with pytest.raises(UsageError, match="no image"):
            ours(array)
    for array in (np.full((3, 4, 4), 300.0), np.full((3, 4, 4), -0.5), np.full((3, 4, 4), np.nan)):
        with pytest.raises(UsageError, match="values from"):
            ours(array)


def test_an_image_far_too_narrow_makes_no_gigabytes():
    with pytest.raises(WorkError, match="at most are made"):
        CLIPImageProcessor()(np.zeros((1, 200_000, 3), np.uint8))
