"""LLaVA-NeXT: tiles, and the whole family put together from parts with callbacks alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from transformers.models.llava_next import modeling_llava_next as reference

from tests.models.media_cases.llava import IMAGE
from tests.models.media_cases.llava_next import CASES, PINPOINTS
from tests.models.test_media_parity import batch, twin
from tests.models.test_media_parity import reference as theirs_of
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize
from tfcli.models.multimodal.anyres import (
    get_anyres_image_grid_shape,
    image_size_to_num_patches,
    pack_image_features,
    unpad_image,
)
from tfcli.models.multimodal.modular import (
    ModalEncoderModule,
    MultimodalModel,
    MultimodalProjector,
)
from tfcli.models.registry import read_config

SIZES = [(30, 20), (12, 40), (16, 16), (7, 100), (100, 7), (33, 31)]


@pytest.mark.parametrize("size", SIZES)
def test_tiles_and_borders_are_theirs(size):
    side = PINPOINTS[0][0]
    for ours in (size, torch.tensor(size)):
        shape = get_anyres_image_grid_shape(ours, PINPOINTS, side)
        assert shape == reference.get_anyres_image_grid_shape(size, PINPOINTS, side)
        count = image_size_to_num_patches(ours, PINPOINTS, side)
        assert count == reference.image_size_to_num_patches(size, PINPOINTS, side)
    grid = torch.randn(2, 4 * shape[0], 4 * shape[1])
    assert torch.equal(unpad_image(grid, size), reference.unpad_image(grid, size))


def test_tiles_of_other_numbers_than_the_sizes_say_are_refused():
    with pytest.raises(ModelError, match=r"has \(3, 4\) tiles and patches, expected \(4, 4\)"):
        pack_image_features(
            [torch.zeros(4, 4, 8)],
            [(30, 30)],
            None,
            grid_pinpoints=PINPOINTS,
            image_size=16,
            patch_size=8,
        )


def put_together(family):
    """A `MultimodalModel` of the parts of one of the family's models."""
    config, body = family.config, family.body
    tower = build(config.vision_config, "embedding")
    language = build(config.text_config, "causal-lm")
    tower.body.load_state_dict(body.vision_tower.state_dict(), assign=True)
    language.body.load_state_dict(body.language_model.state_dict(), assign=True)
    language.lm_head.load_state_dict(family.lm_head.state_dict(), assign=True)
    side, patch = config.vision_config.image_size, config.vision_config.patch_size
    first = 1 if config.vision_feature_select_strategy == "default" else 0

    def tiles(inputs):
        if "pixel_values" not in inputs:
            return inputs
        sizes, padded = inputs["image_sizes"], inputs["pixel_values"]
        counts = [image_size_to_num_patches(size, PINPOINTS, side) for size in sizes]
        pixels = torch.cat([each[:n] for each, n in zip(padded, counts, strict=True)])
        return inputs | {"pixel_values": pixels, "counts": counts}

    def chosen(inputs, output):
        states = [output.hidden_states[layer][:, first:] for layer in config.feature_layers]
        return dataclasses.replace(output, last_hidden_state=torch.cat(states, -1))

    def packed(inputs, output):
        features, _ = pack_image_features(
            output.last_hidden_state.split(inputs["counts"]),
            inputs["image_sizes"],
            body.image_newline,
            grid_pinpoints=PINPOINTS,
            image_size=side,
            patch_size=patch,
        )
        return (torch.cat(features),)

    encoder = ModalEncoderModule(
        tower,
        projector=MultimodalProjector(projection=body.multi_modal_projector),
        additional_args={"output_hidden_states": True},
        preprocess_callback=tiles,
        postprocess_module_callback=chosen,
        postprocess_projector_callback=packed,
    )
    return MultimodalModel({"vision": encoder}, language, token_ids={"vision": IMAGE}).eval()


@pytest.mark.families
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_parts_with_callbacks_are_the_family_and_theirs(case):
    theirs = theirs_of(case)
    family, inputs = twin(case, theirs), batch(case)
    whole = put_together(family)
    with torch.no_grad():
        found = whole(**inputs).logits
        assert torch.equal(found, family(**inputs).logits)
        torch.testing.assert_close(found, theirs(**inputs).logits, atol=2e-5, rtol=1e-4)
        words = inputs["input_ids"].clamp(max=IMAGE - 1)  # text alone
        assert torch.equal(whole(input_ids=words).logits, family(input_ids=words).logits)
        torch.testing.assert_close(
            family(input_ids=words).logits, theirs(input_ids=words).logits, atol=2e-5, rtol=1e-4
        )


def config(**changes):
    return read_config(theirs_settings() | changes)


def theirs_settings():
    return {"model_type": "llava_next", **CASES[0].settings}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_grid_pinpoints": [[16, 40]]}, r"\[16, 40\].*image_size \(16\)"),
        ({"image_grid_pinpoints": [[16]]}, r"\[16\]: each must be a height and a width"),
        ({"image_grid_pinpoints": []}, "names no resolution"),
        ({"image_token_index": 2}, "image_token_index is 2, which is text_config.eos_token_id"),
    ],
)
def test_configs_that_contradict_themselves(changes, message):
    with pytest.raises(ModelError, match=message):
        config(**changes)


def test_a_strategy_that_does_not_fit_the_tower_is_refused():
    with pytest.raises(ModelError, match="'full' takes 0 of a tile's states away, but clip"):
        build(config(vision_feature_select_strategy="full"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_sizes": None}, "pixel_values go with image_sizes"),
        ({"image_sizes": torch.tensor([[30, 20]])}, "has 2 images of 5 tiles, but .* says 1"),
        ({"pixel_values": torch.zeros(3, 3, 16, 16)}, "has 3 tiles, but image_sizes says 9"),
    ],
)
def test_inputs_that_do_not_fit_together(changes, message):
    model = initialize(build(config()))
    with pytest.raises(ModelError, match=message):
        model(**batch(CASES[0]) | changes)
