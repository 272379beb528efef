"""Models put together from encoders and a language model."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from tests.models.media_cases.llava import CLIP, IMAGE, LLAMA
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.models.configs.modular import PROJECTORS
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, initialize
from tfcli.models.model import Model
from tfcli.models.multimodal.modular import (
    ModalEncoderModule,
    MultimodalModel,
    MultimodalProjector,
    feature_shape,
)
from tfcli.models.registry import read_config

TEXT = torch.tensor([[5, 6, IMAGE, IMAGE, IMAGE, IMAGE, IMAGE, 7, 8, 9]])
PIXELS = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
IDS = {"vision": IMAGE}


def made(content: dict[str, Any], task: str) -> Model:
    return initialize(build(read_config(content), task), seed=1).eval()


@pytest.fixture
def clip() -> Model:
    return made(CLIP, "embedding")


@pytest.fixture
def llama() -> Model:
    return made(LLAMA, "causal-lm")


@pytest.mark.parametrize("kind", PROJECTORS)
def test_features_stand_in_the_places_of_their_token(clip, llama, kind):
    whole = MultimodalModel(
        {"vision": ModalEncoderModule(clip)}, llama, init_projector_type=kind, token_ids=IDS
    ).eval()
    text = TEXT if kind in ("linear", "mlp") else torch.tensor([[5, 6, *[IMAGE] * 32, 7, 8, 9]])
    with torch.no_grad():
        found = whole(input_ids=text, pixel_values=PIXELS).logits
        features = whole.encoders["vision"].projector(clip.body.encode(pixel_values=PIXELS))
        x = llama.body.embed(input_ids=text.clamp(max=59))
        x[0, 2:-3] = features[0]
        assert torch.equal(found, llama(inputs_embeds=x).logits)


def test_llava_is_clip_and_llama_with_a_callback(clip, llama):
    """A projector of one's own, and the states of the layer that LLaVA takes."""
    llava = made(
        {"model_type": "llava", "vision_config": CLIP, "text_config": LLAMA, "image_token_id": 60},
        "image-text-to-text",
    )
    body = llava.body
    clip.body.load_state_dict(body.vision_tower.state_dict())
    llama.body.load_state_dict(body.language_model.state_dict())
    llama.lm_head.load_state_dict(llava.lm_head.state_dict())

    def second_to_last(inputs, output):
        return dataclasses.replace(output, last_hidden_state=output.hidden_states[-2][:, 1:])

    encoder = ModalEncoderModule(
        module=clip,
        projector=MultimodalProjector(projection=body.multi_modal_projector),
        additional_args={"output_hidden_states": True},
        postprocess_encoder_callback=second_to_last,
    )
    whole = MultimodalModel({"vision": encoder}, llama, token_ids=IDS).eval()
    text = TEXT[:, [0, 1, 2, 3, 4, 5, 7, 8, 9]]
    with torch.no_grad():
        expected = llava(input_ids=text, pixel_values=PIXELS).logits
        assert torch.equal(whole(input_ids=text, pixel_values=PIXELS).logits, expected)


def test_callbacks_run_in_their_order_and_get_the_inputs(clip, llama):
    seen = []

    def before(inputs):
        seen.append(("before", sorted(inputs)))
        return {**inputs, "pixel_values": inputs["photo"]}

    def between(inputs, output):
        seen.append(("between", inputs["pixel_values"].shape, type(output).__name__))
        return (output.last_hidden_state, "more")

    def after(inputs, output):
        seen.append(("after", output[0].shape, output[1:]))
        return output

    encoder = ModalEncoderModule(
        clip,
        preprocess_callback=before,
        postprocess_module_callback=between,
        postprocess_projector_callback=after,
    )
    whole = MultimodalModel({"vision": encoder}, llama, token_ids=IDS)
    whole(input_ids=TEXT, photo=PIXELS, caption=1)
    assert seen == [
        ("before", ["caption", "photo"]),
        ("between", PIXELS.shape, "ModelOutput"),
        ("after", (1, 5, 32), ("more",)),
    ]


def test_a_modality_that_is_not_there_is_passed_over(clip, llama):
    other = made(CLIP | {"hidden_size": 16}, "embedding")
    whole = MultimodalModel(
        {"vision": ModalEncoderModule(clip), "thermal": ModalEncoderModule(other)},
        llama,
        token_ids=IDS,
    ).eval()
    words = TEXT[:, -3:]
    with torch.no_grad():
        assert torch.equal(whole(input_ids=words).logits, llama(words).logits)
        empty = whole(input_ids=words, pixel_values=PIXELS[:0]).logits
        assert torch.equal(empty, llama(words).logits)


def test_an_input_may_be_addressed_to_one_encoder(clip, llama):
    other = made(CLIP | {"hidden_size": 16}, "embedding")
    parts = {"left": ModalEncoderModule(clip), "right": ModalEncoderModule(other)}
    whole = MultimodalModel(parts, llama, token_ids={"left": 60, "right": 61}).eval()
    words = TEXT.masked_fill(TEXT == IMAGE, 60)
    both = torch.cat((words, words.masked_fill(words == 60, 61)), dim=1)
    with torch.no_grad():
        alone = whole(input_ids=words, **{"left.pixel_values": PIXELS}).logits
        same = whole(input_ids=both, pixel_values=PIXELS).logits
        named = {"left.pixel_values": PIXELS, "right.pixel_values": PIXELS}
        assert torch.equal(whole(input_ids=both, **named).logits, same)
        torch.testing.assert_close(same[:, : words.shape[1]], alone)
        mixed = {"pixel_values": PIXELS, "right.pixel_values": PIXELS + 1}  # its own counts
        assert not torch.equal(whole(input_ids=both, **mixed).logits, same)
    with pytest.raises(ModelError, match="there is no encoder 'lefd'"):
        whole(input_ids=words, **{"lefd.pixel_values": PIXELS})


@pytest.mark.parametrize("kind", PROJECTORS)
def test_how_many_features_there_are_is_known_without_computing_them(kind):
    encoder = {"encoder_config": CLIP, "token_id": 60, "projector_type": kind, "drop_first": True}
    content = {"model_type": "multimodal", "text_config": LLAMA, "encoders": {"vision": encoder}}
    found = read_config(content).encoders["vision"]
    number = 4 if kind in ("linear", "mlp") else 32
    assert feature_shape(found, 32, {"pixel_values": PIXELS}) == (1, number, 32)
    with pytest.raises(ModelError, match="the encoder takes pixel_values"):
        feature_shape(found, 32, {"input_values": PIXELS})


def test_the_places_of_features_are_not_learnt(clip, llama):
    whole = MultimodalModel({"vision": ModalEncoderModule(clip)}, llama, token_ids=IDS)
    output = whole(input_ids=TEXT, pixel_values=PIXELS, labels=TEXT)
    labels = TEXT.masked_fill(TEXT == IMAGE, -100)[:, 1:].flatten()
    expected = nn.functional.cross_entropy(output.logits[:, :-1].flatten(0, 1), labels)
    torch.testing.assert_close(output.loss, expected)
    assert whole(input_ids=TEXT, pixel_values=PIXELS).loss is None


def test_media_come_with_the_prompt_and_the_cache_keeps_them(clip, llama):
    whole = MultimodalModel({"vision": ModalEncoderModule(clip)}, llama, token_ids=IDS).eval()
    with torch.no_grad():
        expected = whole(input_ids=TEXT, pixel_values=PIXELS).logits[:, -1]
        cache = whole.make_cache()
        whole(input_ids=TEXT[:, :-1], pixel_values=PIXELS, cache=cache)
        torch.testing.assert_close(
            whole(input_ids=TEXT[:, -1:], cache=cache).logits[:, -1], expected
        )


def test_freezing_by_part(clip, llama):
    whole = MultimodalModel({"vision": ModalEncoderModule(clip)}, llama, token_ids=IDS)
    assert whole.train(encoders_mode={"vision": (False, True)}, llm_mode=False) is whole
    learning = {name for name, parameter in whole.named_parameters() if parameter.requires_grad}
    assert learning and all(".projector." in name for name in learning)
    with pytest.raises(ModelError, match="no encoder 'audio'"):
        whole.train(encoders_mode={"audio": (True, True)})


@pytest.mark.parametrize("kind", PROJECTORS)
def test_a_saved_whole_is_loaded_as_it_was(clip, llama, kind, tmp_path):
    whole = MultimodalModel(
        {"vision": ModalEncoderModule(clip)}, llama, init_projector_type=kind, token_ids=IDS
    ).eval()
    save_model(whole, tmp_path)
    again = load_model(tmp_path, task=None).eval()
    text = TEXT if kind in ("linear", "mlp") else torch.tensor([[5, 6, *[IMAGE] * 32, 7, 8, 9]])
    with torch.no_grad():
        for inputs in ({"input_ids": text, "pixel_values": PIXELS}, {"input_ids": text[:, :2]}):
            assert torch.equal(again(**inputs).logits, whole(**inputs).logits)


def test_adapters_on_a_part_stay_on_it(clip, llama):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["q_proj"], r=2, init_lora_weights=False)
    adapted = peft.get_peft_model(llama, config)
    whole = MultimodalModel({"vision": ModalEncoderModule(clip)}, adapted, token_ids=IDS).eval()
    names = [name for name, _ in whole.language_model.named_parameters() if "lora_A" in name]
    assert len(names) == LLAMA["num_hidden_layers"]
    with torch.no_grad():
        with_adapter = whole(input_ids=TEXT, pixel_values=PIXELS).logits
        with adapted.disable_adapter():
            without = whole(input_ids=TEXT, pixel_values=PIXELS).logits
    assert not torch.equal(with_adapter, without)


def wrong_projector(clip, llama):
    part = ModalEncoderModule(clip, projector=nn.Linear(24, 40))
    MultimodalModel({"vision": part}, llama)


def too_few_places(clip, llama):
    whole = MultimodalModel({"vision": ModalEncoderModule(clip)}, llama, token_ids=IDS)
    whole(input_ids=TEXT[:, 3:], pixel_values=PIXELS)


def no_medium(clip, llama):
    whole = MultimodalModel({"vision": ModalEncoderModule(clip)}, llama, token_ids={"vision": 70})
    whole(input_ids=torch.tensor([[5, 70]]))


def one_id_twice(clip, llama):
    parts = {name: ModalEncoderModule(clip) for name in ("left", "right")}
    MultimodalModel(parts, llama, token_ids={"left": 60, "right": 60})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (wrong_projector, "leads from 24 to 40, but the encoder gives 24 .* takes 32"),
        (too_few_places, "the text has 4 vision tokens, but there are 5 features"),
        (no_medium, r"has vision tokens \(id 70\), but no input of vision"),
        (one_id_twice, "is 60, which is that of left too"),
        (
            lambda clip, llama: MultimodalModel({}, clip),
            "the language model must have a language-model head",
        ),
        (
            lambda clip, llama: ModalEncoderModule(nn.Linear(2, 2)),
            "an encoder must be a model of tfcli's, not Linear",
        ),
        (
            lambda clip, llama: ModalEncoderModule(clip, module=clip),
            "model and module are two names of one argument",
        ),
        (
            lambda clip, llama: MultimodalModel({}, llama, init_projector_type="liner"),
            "init_projector_type is 'liner'",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_both_sides_named(wrong, message, clip, llama):
    with pytest.raises(ModelError, match=message):
        wrong(clip, llama)
