"""Text about images, from folders that transformers wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from tests.models.media_cases.llava import LLAMA
from tests.processors.joint import build, save
from tfcli.console import Console
from tfcli.errors import Problem, UsageError
from tfcli.generation.spec import GenerateSpec
from tfcli.recipe.execute import execute

TOWER = {
    "model_type": "clip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
}


@pytest.fixture(scope="module")
def llava(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    processor = build("Llava")
    save(processor, folder)
    tokenizer = processor.tokenizer
    text = LLAMA | {"vocab_size": len(tokenizer), "max_position_embeddings": 128}
    config = transformers.LlavaConfig(
        vision_config=TOWER,
        text_config=text | {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": None},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(0)
    model = transformers.LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[str]:
    folder, paths = tmp_path_factory.mktemp("photos"), []
    for number, shape in enumerate([(40, 60, 3), (33, 20, 3)]):
        pixels = np.random.default_rng(number).integers(0, 255, shape, np.uint8)
        paths.append(str(folder / f"{number}.png"))
        Image.fromarray(pixels).save(paths[-1])
    return paths


def run(model: Path, **given):
    spec = GenerateSpec(model=str(model), max_new_tokens=6, **given)
    return execute(spec, Console.silent()).result


def theirs(folder: Path, text: str, photos: list[str]) -> list[int]:
    """What transformers makes of the same text and images, with its own processor."""
    model = transformers.LlavaForConditionalGeneration.from_pretrained(folder)
    inputs = build("Llava")(
        text=text, images=[Image.open(path) for path in photos], return_tensors="pt"
    )
    out = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    return out[0, inputs["input_ids"].shape[1] :].tolist()


def test_a_text_about_an_image_is_transformers_own(llava, photos):
    result = run(llava, prompt="What is <image> this?", image=photos[:1])
    assert result.token_ids == theirs(llava, "What is <image> this?", photos[:1])
    assert result.task == "image-text-to-text" and result.echo
    assert result.prompt == "What is <image> this?"


def test_several_texts_may_be_about_one_image(llava, photos):
    asked = {"prompt": "What is <image> this?", "image": photos[:1], "temperature": 2.0}
    several = run(llava, num_return_sequences=3, **asked).answers
    assert several[0].token_ids == run(llava, **asked).token_ids
    assert len({tuple(each.token_ids) for each in several}) > 1


def test_images_come_first_where_the_prompt_does_not_say_where(llava, photos):
    result = run(llava, prompt="Which is larger?", image=photos)
    assert result.token_ids == theirs(llava, "<image><image>Which is larger?", photos)


def test_in_a_conversation_the_template_places_the_image(llava, photos):
    result = run(llava, prompt="What is this?", image=photos[:1], chat=True, system="Be brief.")
    # A template's own line breaks after its tags are not part of the text.
    rendered = "system: Be brief.user: <image>What is this?assistant: "
    plain = run(llava, prompt=rendered, image=photos[:1])
    assert result.prompt_ids == plain.prompt_ids and not result.echo
    assert result.token_ids == plain.token_ids


def test_text_alone_needs_no_image(llava):
    assert run(llava, prompt="A text").token_ids == theirs_of_text(llava, "A text")


def theirs_of_text(folder: Path, text: str) -> list[int]:
    model = transformers.LlavaForConditionalGeneration.from_pretrained(folder)
    ids = torch.tensor([build("Llava").tokenizer(text)["input_ids"]])
    out = model.generate(ids, max_new_tokens=6, do_sample=False)
    return out[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompt": "<image> and <image>"}, "there are 2 placeholders <image> in the text, and 1"),
        ({"prompt": "x", "image": ["no.png"]}, "no.png"),
    ],
)
def test_media_that_do_not_fit_are_refused_before_weights_are_read(
    given, message, llava, photos, monkeypatch
):
    monkeypatch.setattr("tfcli.generation.run.load_ready", None)
    with pytest.raises(Problem, match=message):
        run(llava, **{"image": photos[:1], **given})


def test_a_model_of_texts_takes_no_image(tiny_llama, photos):
    with pytest.raises(UsageError, match="llama takes no images beside a text"):
        run(tiny_llama, prompt="x", image=photos)


def test_an_image_goes_with_one_prompt(photos):
    with pytest.raises(ValueError, match="media go with prompt"):
        GenerateSpec(model="m", prompts="p.txt", image=photos)
