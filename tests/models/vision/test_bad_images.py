"""Images and settings that a vision transformer cannot take are named, with both sides."""

from __future__ import annotations

import pytest
import torch

from tests.models.media_cases import clip, siglip, siglip2, vit
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config

TOWERS = {
    "vit": vit.VIT,
    "deit": vit.VIT,
    "dinov2": vit.DINO,
    "clip_vision_model": clip.VISION,
    "siglip_vision_model": siglip.VISION,
}


def model_of(model_type, task="embedding", **changes):
    settings = {**TOWERS, "siglip2_vision_model": siglip2.VISION}[model_type]
    return initialize(build(read_config({"model_type": model_type, **settings, **changes}), task))


@pytest.mark.parametrize("model_type", TOWERS)
@pytest.mark.parametrize("shape", [(2, 1, 16, 16), (3, 16, 16), (0, 3, 16, 16)])
def test_what_is_no_batch_of_images_is_named(model_type, shape):
    with pytest.raises(ModelError, match=r"expected \[images, 3, height, width\]") as error:
        model_of(model_type)(pixel_values=torch.zeros(shape))
    assert str(shape) in error.value.what


@pytest.mark.parametrize("model_type", [name for name in TOWERS if name != "dinov2"])
def test_another_size_needs_resized_positions(model_type):
    model, images = model_of(model_type), torch.zeros(1, 3, 32, 24)
    with pytest.raises(ModelError, match="images are 32 x 24 pixels, but the model takes 16 x 16"):
        model(pixel_values=images)
    model(pixel_values=images, interpolate_pos_encoding=True)


def test_dinov2_takes_any_size_but_less_than_a_patch():
    model = model_of("dinov2")
    model(pixel_values=torch.zeros(1, 3, 5, 40))
    with pytest.raises(ModelError, match="3 x 40 pixels, less than one patch of 4 x 4"):
        model(pixel_values=torch.zeros(1, 3, 3, 40))


@pytest.mark.parametrize("model_type", TOWERS)
def test_nothing_to_look_at_is_said(model_type):
    with pytest.raises(ModelError, match="exactly one of pixel_values and inputs_embeds"):
        model_of(model_type)()


def test_a_patch_is_no_larger_than_an_image():
    with pytest.raises(ModelError, match="patch_size is 32, but an image has 16 pixels a side"):
        model_of("vit", patch_size=32)


def test_hidden_patches_need_a_token_and_a_place():
    images, hidden = torch.zeros(1, 3, 16, 16), torch.ones(1, 16)
    with pytest.raises(ModelError, match="no mask token"):
        model_of("vit")(pixel_values=images, bool_masked_pos=hidden)
    fills_in = model_of("vit", "masked-image-modeling")
    with pytest.raises(ModelError, match=r"shape \(1, 9\), but the images have \(1, 16\) patches"):
        fills_in(pixel_values=images, bool_masked_pos=hidden[:, :9])
    with pytest.raises(ModelError, match="the pixels are the labels"):
        fills_in(pixel_values=images, labels=images)


def test_pixels_are_filled_in_only_where_patches_divide_them():
    hidden = torch.ones(1, 16)
    wide = model_of("vit", "masked-image-modeling", encoder_stride=8)
    with pytest.raises(ModelError, match=r"16 x 16 pixels, but from patches of 4 .* of 32 x 32"):
        wide(pixel_values=torch.zeros(1, 3, 16, 16), bool_masked_pos=hidden)
    odd = {"pixel_values": torch.zeros(1, 3, 18, 16), "interpolate_pos_encoding": True}
    with pytest.raises(ModelError, match=r"images are 18 x 16 .* those of 16 x 16 are filled"):
        model_of("vit", "masked-image-modeling")(**odd, bool_masked_pos=hidden)


PATCHES = torch.zeros(1, 6, 192)
SHAPES = torch.tensor([[2, 3]])


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ({"pixel_values": torch.zeros(1, 3, 16, 16)}, "expected .images, patches, 192"),
        ({"pixel_values": torch.zeros(1, 6, 100)}, "patches that were cut, of 192 numbers each"),
        ({"spatial_shapes": torch.tensor([[2, 4]])}, "2 x 4 patches, but pixel_values holds 6"),
        ({"spatial_shapes": torch.tensor([[2, 0]])}, "2 x 0 patches"),
        ({"spatial_shapes": torch.ones(2, 2).long()}, r"shape \(2, 2\), expected \(1, 2\)"),
        ({"spatial_shapes": None}, "need spatial_shapes"),
        ({"pixel_attention_mask": torch.ones(1, 5)}, r"shape \(1, 5\), expected \(1, 6\)"),
    ],
)
def test_patches_and_their_shapes_must_agree(inputs, what):
    model = model_of("siglip2_vision_model")
    given = {"pixel_values": PATCHES, "spatial_shapes": SHAPES} | inputs
    with pytest.raises(ModelError, match=what):
        model(**given)


def test_a_table_of_positions_is_square():
    with pytest.raises(ModelError, match=r"num_patches is 15, .* squares are 9 and 16"):
        model_of("siglip2_vision_model", num_patches=15)


def test_a_classifier_with_a_teacher_says_that_it_has_no_loss():
    model = model_of("deit", "distilled-image-classification")
    with pytest.raises(ModelError, match="no loss of its own"):
        model(pixel_values=torch.zeros(1, 3, 16, 16), labels=torch.zeros(1).long())
