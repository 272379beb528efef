"""States of layers as images: ViT's, for which transformers has no class, and what is asked."""

from __future__ import annotations

import pytest
import torch
import transformers

from tests.models.media_cases.clip import larger
from tests.models.media_cases.vit import VIT
from tests.models.parity import assert_close
from tests.models.test_media_parity import checkpoint_of
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, load_weights
from tfcli.models.registry import read_config


def maps_of(theirs: torch.nn.Module, **asked):
    """Our feature maps of transformers' ViT."""
    ours = build(read_config(theirs.config.to_dict() | asked), "feature-maps")
    load_weights(ours, checkpoint_of(theirs))
    return ours.eval()


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    return transformers.ViTModel(transformers.ViTConfig(**VIT), add_pooling_layer=False).eval()


def test_maps_are_normed_states_of_patches(vit):
    inputs = larger(torch.Generator().manual_seed(1), 2)  # 26 x 40 pixels, patches of 4
    with torch.no_grad():
        states = vit(**inputs, output_hidden_states=True).hidden_states
        found = maps_of(vit, out_indices=[0, -1])(**inputs)
        expected = [
            vit.layernorm(states[at])[:, 1:].reshape(2, 6, 10, 24).permute(0, 3, 1, 2)
            for at in (0, 3)
        ]
    assert found.hidden_states is None
    assert len(found.feature_maps) == 2
    for one, other in zip(found.feature_maps, expected, strict=True):
        assert_close(one, other)


def test_names_and_numbers_ask_for_the_same(vit):
    assert maps_of(vit).config.chosen_stages == [3]
    for asked in ({"out_features": ["stem", "stage2"]}, {"out_indices": [0, 2]}):
        assert maps_of(vit, **asked).config.chosen_stages == [0, 2]
    both = {"out_features": ["stage3"], "out_indices": [-1]}
    assert maps_of(vit, **both).config.chosen_stages == [3]


def test_what_was_asked_for_is_saved(vit, tmp_path):
    ours = maps_of(vit, out_features=["stage1", "stage3"])
    save_model(ours, tmp_path)
    again = load_model(tmp_path, task=None)
    assert (again.task, again.config.chosen_stages) == ("feature-maps", [1, 3])
    assert again.config.architectures == ["ViTBackbone"]
    transformers.ViTModel.from_pretrained(tmp_path)


def test_states_are_returned_where_they_are_asked_for(vit):
    inputs = larger(torch.Generator().manual_seed(1), 1)
    with torch.no_grad():
        found = maps_of(vit)(**inputs, output_hidden_states=True)
    assert len(found.hidden_states) == 4


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"out_features": ["stage9"]}, "names 'stage9', but the stages are stem, stage1,"),
        ({"out_indices": [4]}, "has 4, but the stages are stem, .* so 0 to 3"),
        ({"out_indices": [-5]}, "has -5, but the stages are"),
        ({"out_features": []}, "names no stage"),
        ({"out_indices": [3, -1]}, "names a stage twice: 3 and -1"),
        (
            {"out_features": ["stage2", "stage1"]},
            r"out of order; the order is \['stage1', 'stage2'\]",
        ),
        (
            {"out_features": ["stage1"], "out_indices": [2]},
            r"out_features is \['stage1'\], but out_indices \[2\] means \['stage2'\]",
        ),
    ],
)
@pytest.mark.parametrize("model_type", ["vit", "dinov2"])
def test_stages_that_are_none_or_disagree_are_named(model_type, asked, what):
    with pytest.raises(ModelError, match=what) as error:
        read_config({"model_type": model_type, "num_hidden_layers": 3, **asked})
    assert next(iter(asked)) in error.value.where


def test_maps_need_images(vit):
    with pytest.raises(ModelError, match="feature maps need pixel_values"):
        maps_of(vit)(inputs_embeds=torch.zeros(1, 17, 24))
