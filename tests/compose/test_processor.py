"""The processor of a composed model: one call for text and the media of all encoders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.compose.conftest import compose
from tfcli.checkpoints.folder import load_model
from tfcli.errors import UsageError, WorkError
from tfcli.processors.load import load_processor
from tfcli.processors.modular import MultimodalProcessor

RANDOM = np.random.default_rng(0)
PHOTO, OTHER = (RANDOM.integers(0, 256, (20, 30, 3), dtype=np.uint8) for _ in range(2))
CHAT = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"


@pytest.fixture(scope="module")
def one(llama: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one") / "out"
    shutil.copytree(llama, folder.parent / "llama")
    (folder.parent / "llama/chat_template.jinja").write_text(CHAT)
    compose(folder, folder.parent / "llama", {"vision": str(clip)})
    return folder


@pytest.fixture(scope="module")
def two(
    llama: Path, clip: Path, small_clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("two") / "out"
    right = {"model": str(small_clip), "projector": "resampler", "num_queries": 3}
    compose(folder, llama, {"left": str(clip), "right": right})
    return folder


def test_each_placeholder_becomes_as_many_tokens_as_the_encoder_makes_features(one):
    processor = load_processor(one)
    assert isinstance(processor, MultimodalProcessor)
    found = processor(images=[PHOTO, OTHER], text=["<image>A", "The <image> object"])
    assert (found.input_ids == 320).sum(-1).tolist() == [5, 5]
    assert found.pixel_values.shape == (2, 3, 16, 16)
    with torch.no_grad():
        assert load_model(one, task=None)(**found).logits.isfinite().all()


def test_media_of_several_encoders_are_addressed_to_them(two):
    processor = load_processor(two)
    found = processor(text="<left> and <right><left>", left=[PHOTO, OTHER], right=OTHER)
    ids = found.input_ids[0].tolist()
    assert (ids.count(320), ids.count(321)) == (10, 3)
    assert found["left.pixel_values"].shape == (2, 3, 16, 16)
    assert found["right.pixel_values"].shape == (1, 3, 24, 24)
    model = load_model(two, task=None)
    with torch.no_grad():
        whole = model(**found).logits
        alone = processor(text="<right>", right=OTHER)
        assert model(**alone).logits.shape[1] == alone.input_ids.shape[1]
        swapped = {**found, "left.pixel_values": found["left.pixel_values"].flip(0)}
        assert not torch.equal(model(**swapped).logits, whole)


def test_text_alone_and_media_alone(one):
    processor = load_processor(one)
    assert set(processor(text="A name")) == {"input_ids", "attention_mask"}
    assert set(processor(images=PHOTO)) == {"pixel_values"}
    assert torch.equal(processor(vision=PHOTO).pixel_values, processor(images=PHOTO).pixel_values)


def test_settings_of_a_call_go_to_whom_they_belong(one):
    processor = load_processor(one)
    found = processor(images=PHOTO, text="<image>", do_normalize=False, add_special_tokens=False)
    assert found.pixel_values.min() >= 0 and found.pixel_values.max() <= 1
    assert found.input_ids.tolist() == [[320] * 5]
    same = processor(images=PHOTO, text="<image>", vision_kwargs={"do_normalize": False})
    assert torch.equal(same.pixel_values, found.pixel_values)
    types = processor(images=PHOTO, text="A<image>", return_mm_token_type_ids=True)
    assert torch.equal(types.mm_token_type_ids, (types.input_ids == 320).long())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": "<image>"}, "1 placeholders <image> in the text, and 0 vision inputs are given"),
        ({"text": "A", "images": PHOTO}, "0 placeholders <image> .* 1 vision inputs are given"),
        (
            {"text": ["<image>", "<image>"], "images": [[PHOTO], [PHOTO, OTHER]]},
            "1 placeholders <image> .* 2 vision inputs",
        ),
        ({}, "neither text nor a medium"),
        ({"text": "A", "videos": [PHOTO]}, "takes no videos"),
        ({"text": "A", "audio": [0.0]}, "no argument 'audio'"),
        ({"images": PHOTO, "vision": PHOTO}, "media of vision are given twice"),
        ({"images": PHOTO, "do_normalise": 1}, "did you mean 'do_normalize'"),
    ],
)
def test_what_does_not_fit_together_is_refused(given, message, one):
    with pytest.raises(UsageError, match=message) as error:
        load_processor(one)(**given)
    assert message.split()[0] in f"{error.value.what} {error.value.fix}"


def test_images_of_two_encoders_have_no_common_name(two):
    with pytest.raises(UsageError, match="2 encoders take images") as error:
        load_processor(two)(text="<left>", images=PHOTO)
    assert error.value.fix == "name the encoder: left, right"


def test_a_text_is_not_cut_within_a_medium(one):
    with pytest.raises(WorkError, match="5 of which stand for visions"):
        load_processor(one)(images=PHOTO, text="<image>", truncation=True, max_length=4)


def test_what_is_saved_is_read_again(two, tmp_path):
    processor = load_processor(two)
    processor.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes((two / "config.json").read_bytes())
    for name in ("processor_config.json", "tokenizer.json"):
        assert (tmp_path / name).read_text() == (two / name).read_text()
    given: dict[str, Any] = {"text": "<left><right>", "left": PHOTO, "right": OTHER}
    again, before = load_processor(tmp_path)(**given), processor(**given)
    assert again.keys() == before.keys()
    assert all(torch.equal(again[key], before[key]) for key in before)


def edited(folder: Path, target: Path, change: Any) -> Path:
    shutil.copytree(folder, target)
    values = json.loads((target / "processor_config.json").read_text())
    change(values["encoders"])
    (target / "processor_config.json").write_text(json.dumps(values))
    return target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda parts: parts.pop("vision"),
            "the model has the encoders vision, the processor none",
        ),
        (lambda parts: parts["vision"].pop("token"), "expected a token"),
        (lambda parts: parts["vision"].update(token="A"), "config.json names 320 for vision"),
        (lambda parts: parts["vision"]["image_processor"].update(size="x"), "is no size"),
        (
            lambda parts: parts["vision"]["image_processor"].update(
                image_processor_type="LlavaProcessor"
            ),
            "LlavaProcessor is no image_processor",
        ),
    ],
)
def test_files_that_do_not_belong_together(change, message, one, tmp_path):
    with pytest.raises(WorkError, match=message):
        load_processor(edited(one, tmp_path / "other", change))


def test_a_plain_chat_template_takes_media(one):
    processor = load_processor(one)
    talk = [
        {
            "role": "user",
            "content": [{"type": "image", "image": PHOTO}, {"type": "text", "text": "What?"}],
        },
        {"role": "assistant", "content": "A name."},
    ]
    assert processor.apply_chat_template(talk) == "[user] <image>What?\n[assistant] A name.\n"
    found = processor.apply_chat_template(talk, tokenize=True, return_dict=True)
    assert (found.input_ids == 320).sum() == 5 and found.pixel_values.shape == (1, 3, 16, 16)
    named = [{"role": "user", "content": [{"type": "vision", "vision": PHOTO}]}]
    found = processor.apply_chat_template(named, tokenize=True, return_dict=True)
    assert found.pixel_values.shape == (1, 3, 16, 16)


def test_every_file_has_the_template_that_takes_media(one):
    written = json.loads((one / "tokenizer_config.json").read_text())["chat_template"]
    assert written == (one / "chat_template.jinja").read_text() and written.endswith(CHAT)
