"""Joint processors beside transformers', on a tiny tokenizer."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoProcessor

from tests.processors.images.pictures import colourful, drawn
from tests.processors.joint import KINDS, assert_same, build, save
from tfcli.errors import UsageError, WorkError
from tfcli.processors.joint import JointProcessor
from tfcli.processors.load import load_processor

PLACED = [kind for kind in KINDS if kind not in ("CLIP", "Siglip", "Siglip2")]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Kind -> ours and transformers'."""
    found = {}
    for kind in KINDS:
        other = build(kind)
        folder = save(other, tmp_path_factory.mktemp(kind))
        found[kind] = load_processor(folder), other, folder
    return found


def token(kind):
    tokens = KINDS[kind][3]
    return tokens.get("boi_token", tokens["image_token"])


def filled(kind):
    """What fills texts up in transformers; SigLIP 2 does it by itself."""
    return {} if kind == "Siglip2" else {"padding": True}


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_with_an_image(kind, pairs):
    ours, other, _ = pairs[kind]
    before = f"Look: {token(kind)} and " if kind in PLACED else ""
    for image in colourful().values():
        text = f"{before}describe this object."
        found = ours(images=image, text=text)
        assert_same(found, other(images=image, text=text, return_tensors="pt", **filled(kind)))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", KINDS)
def test_several_texts_are_filled_up(kind, side, tmp_path):
    other = build(kind, side=side)
    ours = load_processor(save(other, tmp_path))
    images = [drawn(50, 30), drawn(20, 60), drawn(40, 41)]
    mark = token(kind) if kind in PLACED else ""
    texts = [f"{mark}a name", f"An object {mark} with many, {mark} many names. What?"]
    nested = [[images[0]], images[1:]] if kind in PLACED else images
    found = ours(images=nested, text=texts)
    assert_same(found, other(images=nested, text=texts, return_tensors="pt", **filled(kind)))
    assert found.input_ids.dtype == torch.int64
    if kind not in ("Gemma3", "PaliGemma"):  # which take a list for each text, or one image each
        assert_same(ours(images=images, text=texts), found)


@pytest.mark.parametrize("kind", ["CLIP", "Siglip", "Siglip2", "Llava", "Gemma3", "Qwen2VL"])
def test_text_alone_and_images_alone(kind, pairs):
    ours, other, _ = pairs[kind]
    texts = ["a name", "An object has many names."]
    assert_same(ours(text=texts), other(text=texts, return_tensors="pt", **filled(kind)))
    images = [drawn(50, 30), drawn(20, 60)]
    if kind != "Qwen2VL":
        assert_same(ours(images=images), other(images=images, return_tensors="pt"))


@pytest.mark.parametrize("kind", PLACED)
def test_a_conversation(kind, pairs, tmp_path):
    ours, other, _ = pairs[kind]
    drawn(44, 33).save(tmp_path / "picture.png")
    path = str(tmp_path / "picture.png")
    for entry in (
        {"type": "image", "image": drawn(30, 50)},
        {"type": "image", "path": path},
        {"type": "image_url", "image_url": {"url": path}},
    ):
        talk = [
            {"role": "user", "content": [{"type": "text", "text": "What is "}, entry]},
            {"role": "assistant", "content": "A name."},
            {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
        ]
        options = {"add_generation_prompt": True}
        assert ours.apply_chat_template(talk, **options) == other.apply_chat_template(
            talk, **options
        )
        options |= {"tokenize": True, "return_dict": True}
        expected = other.apply_chat_template(talk, return_tensors="pt", **options)
        found = ours.apply_chat_template(talk, **options)
        assert_same(found, expected)
        ids = ours.apply_chat_template(talk, add_generation_prompt=True, tokenize=True)
        assert torch.equal(ids, found.input_ids)


def test_conversations_of_a_batch_and_a_file_as_base64(pairs):
    import base64
    import io

    ours, other, _ = pairs["Qwen2VL"]
    out = io.BytesIO()
    drawn(31, 57).save(out, "PNG")
    file = base64.b64encode(out.getvalue()).decode()
    talks = [
        [{"role": "user", "content": [{"type": "image", "base64": file}]}],
        [{"role": "user", "content": [{"type": "text", "text": "A longer name for an object"}]}],
    ]
    options = {"tokenize": True, "return_dict": True}
    expected = other.apply_chat_template(
        talks, return_tensors="pt", processor_kwargs={"padding": True}, **options
    )
    assert_same(ours.apply_chat_template(talks, **options), expected)
    beside = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Why?"}]}]
    found = ours.apply_chat_template(beside, processor_kwargs={"images": drawn(31, 57)}, **options)
    assert (found.input_ids == ours.text.id_of("<|image_pad|>")).any()


@pytest.mark.parametrize("kind", PLACED)
def test_not_as_many_images_as_placeholders(kind, pairs):
    ours, _, _ = pairs[kind]
    mark, image = token(kind), drawn(9, 9)
    with pytest.raises(UsageError, match=r"2 placeholders .* 1 images are given"):
        ours(images=[image], text=f"{mark}{mark}")
    with pytest.raises(UsageError, match=r"1 placeholders .* 2 images are given") as caught:
        ours(images=[[image], [image, image]], text=[mark, f"a {mark}"])
    assert caught.value.where == "text[1]"
    if kind != "PaliGemma":
        with pytest.raises(UsageError, match=r"1 placeholders .* 0 images are given"):
            ours(text=mark)
        with pytest.raises(UsageError, match=r"0 placeholders .* 1 images are given"):
            ours(images=image, text="a name")


@pytest.mark.parametrize("kind", PLACED)
def test_no_text_is_cut_within_an_image(kind, pairs):
    ours, _, _ = pairs[kind]
    text = f"{token(kind)} An object has many names, and each of them is a name of its own."
    whole = ours(images=drawn(40, 40), text=text)
    length = whole.input_ids.shape[1] - 4
    kept = ours(images=drawn(40, 40), text=text, truncation=True, max_length=length)
    assert kept.input_ids.shape[1] == length
    features = ours.text.id_of(ours.placeholders["image"].feature)
    assert (kept.input_ids == features).sum() == (whole.input_ids == features).sum()
    with pytest.raises(WorkError, match=r"would be cut to 3 .* keep [0-9] of these") as caught:
        ours(images=drawn(40, 40), text=text, truncation=True, max_length=3)
    assert caught.value.where == "text[0]"


def test_gemma_crops_and_settings_of_a_call(pairs):
    ours, other, _ = pairs["Gemma3"]
    image = drawn(900, 300)
    text = "<start_of_image> What is this?"
    scan = {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 20}
    expected = other(images=image, text=text, return_tensors="pt", images_kwargs=scan)
    assert len(expected.pixel_values) == 4
    assert_same(ours(images=image, text=text, **scan), expected)
    assert_same(ours(images=image, text=text, images_kwargs=scan), expected)


def test_llava_counts_features_as_its_settings_say(tmp_path):
    for settings in (
        {"vision_feature_select_strategy": "full"},
        {"num_additional_image_tokens": 0, "patch_size": 4},
    ):
        for kind in ("Llava", "LlavaNext"):
            other = build(kind, **settings)
            ours = load_processor(save(other, tmp_path / f"{kind}{len(settings)}"))
            for image in colourful().values():
                expected = other(images=image, text="<image>", return_tensors="pt")
                assert_same(ours(images=image, text="<image>"), expected)
    ours.settings = type(ours.settings)()
    with pytest.raises(UsageError) as caught:
        ours(images=drawn(9, 9), text="<image>")
    assert caught.value.where == "patch_size"


def test_settings_of_a_call_count_for_features_too(pairs):
    ours, _, _ = pairs["Qwen2VL"]
    found = ours(images=drawn(50, 50), text="<|image_pad|>", merge_size=1)
    assert (found.mm_token_type_ids == 1).sum() == found.image_grid_thw.prod()
    ours, _, _ = pairs["LlavaNext"]
    found = ours(images=drawn(50, 50), text="<image>", image_grid_pinpoints=[[28, 28]])
    features = found.input_ids == ours.text.id_of("<image>")
    assert features.sum() == 16 + 16 + 4  # the whole image, its one tile, an end for each row


def test_features_without_end_are_refused(pairs):
    from tfcli.processors.gemma3 import Gemma3Processor
    from tfcli.processors.llava import LlavaProcessor

    for processor, kind, settings in (
        (Gemma3Processor, "Gemma3", {"image_seq_length": 1 << 40}),
        (LlavaProcessor, "Llava", {"patch_size": 7, "num_additional_image_tokens": 1 << 40}),
        (LlavaProcessor, "Llava", {"patch_size": 99}),
    ):
        ours = pairs[kind][0]
        made = processor(ours.image_processor, ours.text, **settings)
        with pytest.raises(WorkError, match=r"would stand for one medium, not 1\.\.1,048,576"):
            made(images=drawn(9, 9), text=token(kind))


def test_qwen_videos_and_images_in_one_text(pairs):
    ours, _, _ = pairs["Qwen2VL"]
    video = [drawn(40, 40), drawn(40, 40).rotate(90)]
    text = "<|video_pad|> or <|image_pad|> or <|video_pad|>?"
    found = ours(images=drawn(30, 50), text=text, videos=[video, video[:1]])
    for medium, value in (("image", 1), ("video", 2)):
        count = int(found[f"{medium}_grid_thw"].prod(1).sum()) // 4
        assert (found.mm_token_type_ids == value).sum() == count
        ids = found.input_ids == ours.text.id_of(f"<|{medium}_pad|>")
        assert torch.equal(ids, found.mm_token_type_ids == value)
    assert "mm_token_type_ids" not in ours(text="a name", return_mm_token_type_ids=False)
    with pytest.raises(UsageError, match=r"2 placeholders .* 1 videos"):
        ours(images=drawn(30, 50), text=text, videos=video)


def test_paligemma_prompts_and_answers(pairs):
    ours, other, _ = pairs["PaliGemma"]
    images = [drawn(30, 50), drawn(50, 30)]
    for texts, given in (
        ("caption", images[0]),
        (["caption", "What is this <loc0003> place?"], images),
        (["<image>caption", "<image> again <image> answer"], [images[:1], images]),
        (["", "caption"], [images, images[:1]]),
    ):
        expected = other(images=given, text=texts, padding=True, return_tensors="pt")
        assert_same(ours(images=given, text=texts), expected)
    answers = ["a name", "an object with a name"]
    expected = other(
        images=images, text=["what", "where is it"], suffix=answers, padding=True,
        return_tensors="pt",
    )  # fmt: skip
    assert_same(ours(images=images, text=["what", "where is it"], suffix=answers), expected)
    with pytest.raises(UsageError, match="no image"):
        ours(text="caption")


def test_paligemma_tokens_that_the_tokenizer_lacks(pairs, tmp_path):
    from transformers import PaliGemmaProcessor as Theirs

    from tests.processors.joint import tokenizer
    from tfcli.processors.paligemma import PaliGemmaProcessor
    from tfcli.tokenizers.load import load_tokenizer

    ours, other, _ = pairs["PaliGemma"]
    plain = tokenizer({}, False, "right")
    plain.save_pretrained(tmp_path)
    other = Theirs(other.image_processor, plain)
    ours = PaliGemmaProcessor(ours.image_processor, load_tokenizer(tmp_path))
    text, image = "detect <loc0003><seg127> <image>", drawn(9, 9)
    assert_same(ours(images=image, text=text), other(images=image, text=text, return_tensors="pt"))
    assert load_tokenizer(tmp_path).backend.token_to_id("<loc0003>") is None


def test_a_chat_template_in_processor_config_counts_first(pairs, tmp_path):
    ours, _, _ = pairs["Llava"]
    ours.save_pretrained(tmp_path)
    config = tmp_path / "processor_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": "hello"}))
    talk = [{"role": "user", "content": "a name"}]
    again = load_processor(tmp_path)
    assert again.apply_chat_template(talk) == "hello" and "chat_template" not in again.others
    assert AutoProcessor.from_pretrained(tmp_path).apply_chat_template(talk) == "hello"
    assert again.apply_chat_template(talk, "{{ messages[0].role }}") == "user"


@pytest.mark.parametrize("kind", KINDS)
def test_written_files_are_read_by_both(kind, pairs, tmp_path):
    ours, other, _ = pairs[kind]
    ours.others["mine"] = [1]
    ours.save_pretrained(tmp_path)
    again = load_processor(tmp_path)
    assert type(again) is type(ours) and again.settings == ours.settings
    assert again.image_processor.settings == ours.image_processor.settings
    assert again.chat_templates == ours.chat_templates and again.others == ours.others
    mark = token(kind) if kind in PLACED else ""
    text, image = f"{mark} a name", drawn(40, 30)
    expected = other(images=image, text=text, return_tensors="pt", **filled(kind))
    assert_same(again(images=image, text=text), expected)
    if kind == "Qwen2VL":  # transformers' needs torchvision
        saved = json.loads((tmp_path / "processor_config.json").read_text())
        assert saved["video_processor"]["video_processor_type"] == "Qwen2VLVideoProcessor"
        return
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is type(other)
    assert loaded.chat_template == other.chat_template
    found = loaded(images=image, text=text, return_tensors="pt", **filled(kind))
    assert_same(found, expected)


def test_what_a_call_may_not_say(pairs):
    ours, _, _ = pairs["CLIP"]
    with pytest.raises(UsageError, match="neither text nor an image"):
        ours()
    with pytest.raises(UsageError, match="did you mean 'do_resize'"):
        ours(images=drawn(9, 9), do_resiz=False)
    with pytest.raises(UsageError, match="there is no argument 'padding'"):
        ours(images=drawn(9, 9), images_kwargs={"padding": True})
    with pytest.raises(UsageError, match="given twice"):
        ours(images=drawn(9, 9), images_kwargs={"size": 9}, size=8)
    with pytest.raises(UsageError, match="takes no videos"):
        ours(videos=[[drawn(9, 9)]])
    with pytest.raises(UsageError, match="neither a text nor a list of texts"):
        ours(text=[3])
    with pytest.raises(UsageError, match="are not filled up"):
        ours(text=["a", "a name of an object"], padding=False)
    with pytest.raises(UsageError, match="padding is 'shortest'"):
        ours(text="a", padding="shortest")
    with pytest.raises(WorkError, match="no token '<image>'"):
        type(pairs["Llava"][0])(ours.image_processor, ours.text)


def test_lengths(pairs):
    ours, other, _ = pairs["CLIP"]
    texts = ["a name", "An object has many names."]
    for options in (
        {"padding": "max_length"},
        {"padding": "max_length", "max_length": 30},
        {"truncation": True, "max_length": 6},
        {"pad_to_multiple_of": 16},
        {"add_special_tokens": False},
    ):
        expected = other(text=texts, return_tensors="pt", **{"padding": True, **options})
        assert_same(ours(text=texts, **options), expected)


def test_one_of_your_own(pairs, tmp_path, monkeypatch):
    """An installed package offers it by an entry point."""
    from importlib.metadata import EntryPoint

    from tfcli.processors import registry
    from tfcli.processors.placeholders import Placeholder

    class Mine(JointProcessor):
        names = ("MyProcessor",)

        def media(self):
            return {"image": Placeholder("<image>", "<image>")}

        def run(self, medium, features, at, settings):
            return "<image>" * 3

    ours = pairs["Llava"][0]
    Mine(ours.image_processor, ours.text).save_pretrained(tmp_path)
    monkeypatch.setattr(registry, "_own", {})
    with pytest.raises(WorkError, match="no processor 'MyProcessor'"):
        load_processor(tmp_path)
    point = EntryPoint("MyProcessor", "tests.processors.joint:Mine", registry.ENTRY_POINTS)
    monkeypatch.setattr("tests.processors.joint.Mine", Mine, raising=False)
    asked = {"group": registry.ENTRY_POINTS, "name": "MyProcessor"}
    monkeypatch.setattr(registry, "entry_points", lambda **given: [point] if given == asked else [])
    found = load_processor(tmp_path)(images=drawn(9, 9), text="a <image>")
    assert (found.input_ids == ours.text.id_of("<image>")).sum() == 3


def test_load_processor_gives_what_a_folder_has(pairs, tmp_path):
    from tfcli.processors.images.clip import CLIPImageProcessor
    from tfcli.processors.images.vit import ViTImageProcessor
    from tfcli.tokenizers.load import Tokenizer

    _, other, _ = pairs["CLIP"]
    other.tokenizer.save_pretrained(tmp_path / "text")
    config = tmp_path / "text/tokenizer_config.json"
    said = json.loads(config.read_text())
    said.pop("processor_class", None)
    config.write_text(json.dumps(said))
    assert isinstance(load_processor(tmp_path / "text"), Tokenizer)
    other.image_processor.save_pretrained(tmp_path / "text")
    assert isinstance(load_processor(tmp_path / "text"), CLIPImageProcessor)
    (tmp_path / "text/config.json").write_text('{"model_type": "clip"}')
    assert isinstance(load_processor(tmp_path / "text"), JointProcessor)
    ViTImageProcessor().save_pretrained(tmp_path / "images")
    assert isinstance(load_processor(tmp_path / "images"), ViTImageProcessor)
    config.write_text(json.dumps(said | {"processor_class": "CLIPProcesor"}))
    with pytest.raises(WorkError, match="did you mean 'CLIPProcessor'"):
        load_processor(tmp_path / "text")
