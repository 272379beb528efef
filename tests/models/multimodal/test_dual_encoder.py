"""Two towers: one side alone, the loss of pairs, nested configs, and what does not fit together."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers

from tests.models.media_case import MediaCase
from tests.models.media_cases import clip, siglip, siglip2
from tests.models.parity import assert_close
from tests.models.test_media_parity import batch, reference, twin
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize, load_weights
from tfcli.models.registry import read_config
from tfcli.models.saving import export_tensors

WHOLE = {
    case.name: case
    for group in (clip, siglip, siglip2)
    for case in group.CASES
    if case.task == "contrastive"
}
every_whole = pytest.mark.parametrize("case", WHOLE.values(), ids=WHOLE)


def sides(case: MediaCase):
    """Ours, theirs, and the inputs of images and of texts."""
    theirs, inputs = reference(case), batch(case)
    texts = {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}
    images = {name: value for name, value in inputs.items() if name not in texts}
    return twin(case, theirs), theirs, images, texts


@every_whole
def test_features_of_one_side_are_those_of_transformers(case):
    ours, theirs, images, texts = sides(case)
    with torch.no_grad():
        pairs = [
            (ours.get_image_features(**images), theirs.get_image_features(**images)),
            (ours.get_text_features(**texts), theirs.get_text_features(**texts)),
        ]
    for found, wanted in pairs:
        assert_close(found.pooler_output, wanted.pooler_output)
        assert_close(found.last_hidden_state, wanted.last_hidden_state)


@every_whole
def test_one_side_alone_gives_its_vectors(case):
    ours, _, images, texts = sides(case)
    with torch.no_grad():
        both, image, text = ours(**images, **texts), ours(**images), ours(**texts)
    assert set(image) == {"image_embeds"}
    assert set(text) == {"text_embeds"}
    assert_close(image.image_embeds, both.image_embeds)
    assert_close(text.text_embeds, both.text_embeds)
    states = ours.get_image_features(**images, output_hidden_states=True).hidden_states
    assert len(states) == ours.config.vision_config.num_hidden_layers + 1


@every_whole
def test_a_loss_needs_as_many_images_as_texts(case):
    ours, _, images, texts = sides(case)
    one = {name: value[:1] for name, value in texts.items()}
    assert ours(**images, **one).logits_per_image.shape == (2, 1)
    with pytest.raises(ModelError, match="there are 2 images and 1 texts"):
        ours(**images, **one, return_loss=True)
    with pytest.raises(ModelError, match="2 images and 0 texts"):
        ours(**images, return_loss=True)


@every_whole
def test_what_no_tower_takes_is_refused(case):
    ours, _, images, texts = sides(case)
    with pytest.raises(ModelError, match="give pixel_values, input_ids, or both"):
        ours()
    with pytest.raises(ModelError, match="no labels: image i belongs to text i"):
        ours(**images, **texts, labels=torch.arange(2))
    with pytest.raises(TypeError, match="takes no argument 'token_type_ids'"):
        ours(**images, token_type_ids=texts["input_ids"])


@every_whole
def test_earlier_checkpoints_of_a_tower_have_its_prefix_and_counted_positions(case):
    whole = twin(case, reference(case))
    for part in (whole.body.text_model, whole.body.vision_model):
        tower = build(part.config, "embedding")
        prefix = f"{tower.base()}."
        stored = {prefix + name: value for name, value in part.state_dict().items()}
        stored[f"{prefix}embeddings.position_ids"] = torch.arange(9)[None]
        account = load_weights(tower, stored)
        assert list(account.skipped) == [f"{prefix}embeddings.position_ids"]
        assert len(account.loaded) == len(stored) - 1


@every_whole
def test_a_classifier_takes_its_tower_from_the_whole(case):
    """As fine-tuning begins: the tower for texts is skipped, the classifier is new."""
    whole = twin(case, reference(case))
    classifier = build(whole.config.replace(id2label={"0": "a", "1": "b"}), "image-classification")
    account = load_weights(classifier, dict(export_tensors(whole)), new_head=True)
    assert set(account.initialized) == {"classifier.weight", "classifier.bias"}
    assert "text_model.final_layer_norm.weight" in account.skipped
    tower = whole.body.vision_model.state_dict()
    assert all(
        torch.equal(tower[name], value) for name, value in classifier.body.state_dict().items()
    )


def test_a_text_ends_where_the_config_says():
    model = initialize(build(read_config({"model_type": "clip_text_model", **clip.TEXT})))
    with pytest.raises(ModelError, match=r"text 1 has no end-of-text token \(eos_token_id 60\)"):
        model(input_ids=torch.tensor([[5, 60, 1], [5, 6, 7]]))
    with pytest.raises(ModelError, match="needs input_ids to know where each text ends"):
        model(inputs_embeds=torch.zeros(1, 3, 32))
    with pytest.raises(ModelError, match="the input has 25 positions, but the model has 24"):
        model(input_ids=torch.full((1, 25), 60))


def test_several_tokens_may_end_a_text():
    settings = {"model_type": "clip_text_model", **clip.TEXT, "eos_token_id": [60, 59]}
    model = initialize(build(read_config(settings))).eval()
    found = model(input_ids=torch.tensor([[5, 59, 60], [5, 6, 60]]))
    assert torch.equal(found.pooler_output[0], found.last_hidden_state[0, 1])
    assert torch.equal(found.pooler_output[1], found.last_hidden_state[1, 2])


def test_the_first_checkpoints_spell_their_parts_twice():
    """transformers takes the second spelling, with the defaults of what it leaves out."""
    older = {"hidden_size": 64, "projection_dim": 24}
    content = {"model_type": "clip", "text_config": clip.TEXT, "text_config_dict": older}
    content |= {"vision_config": clip.VISION, "vision_config_dict": None}
    ours = read_config(content)
    theirs = transformers.CLIPConfig(**copy.deepcopy(content))  # it writes into its parts
    for side in ("text_config", "vision_config"):
        for key in ("hidden_size", "num_hidden_layers", "projection_dim"):
            assert getattr(getattr(ours, side), key) == getattr(getattr(theirs, side), key), key
    assert "text_config_dict" not in ours.to_dict()


def test_parts_may_be_left_out():
    assert read_config({"model_type": "clip"}).text_config.hidden_size == 512
    assert read_config({"model_type": "siglip"}).vision_config.image_size == 224
    assert read_config({"model_type": "siglip2", "text_config": None}).text.vocab_size == 32000


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        (
            {"text_config": siglip.TEXT | {"projection_size": 16}},
            "text_config.projection_size",
            "is 16, but vision_config.hidden_size is 24",
        ),
        (
            {"vision_config": {"model_type": "vit"}},
            "vision_config",
            "is that of vit, but a tower of siglip is needed: siglip_vision_model",
        ),
        (
            {"text_config": siglip.TEXT | {"num_attention_heads": 3}},
            "text_config.hidden_size",
            r"\(32\) is not a multiple of num_attention_heads \(3\)",
        ),
        (
            {"vision_config": siglip.VISION | {"hidden_act": "swoosh"}},
            "vision_config.hidden_act",
            "not an activation",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named_with_both_sides(changes, where, what):
    content = {"text_config": siglip.TEXT, "vision_config": siglip.VISION, "model_type": "siglip"}
    with pytest.raises(ModelError, match=what) as error:
        read_config(content | changes)
    assert error.value.where == f"config.json, key {where}"


def test_a_tower_that_does_not_pool_has_nothing_to_compare():
    vision = siglip.VISION | {"vision_use_head": False}
    content = {"model_type": "siglip", "text_config": siglip.TEXT, "vision_config": vision}
    model = initialize(build(read_config(content)))
    with pytest.raises(ModelError, match="siglip_vision_model has no pooling head"):
        model(pixel_values=torch.zeros(1, 3, 16, 16))
