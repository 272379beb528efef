"""Tasks of images and recordings beside transformers' pipelines on the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import transformers
from PIL import Image

import tfcli
from tests.generation.test_media import theirs as llava_says
from tests.generation.test_speech_run import theirs_of as whisper_says
from tests.models.media_cases.clip import TEXT, VISION, WHOLE
from tests.models.tiny import tiny_model
from tests.predict.support import close, make_words
from tests.processors.audio.clips import noise, sound_file
from tests.processors.audio.test_ctc_tokenizer import VOCAB
from tests.processors.joint import build
from tfcli.checkpoints.folder import save_model
from tfcli.errors import UsageError, WorkError

LABELS = {"id2label": {str(n): name for n, name in enumerate(("cat", "dog", "bird"))}}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("pictures")
    chance = np.random.default_rng(0)
    for number in range(3):
        pixels = chance.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return [str(folder / f"{number}.png") for number in range(3)]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("recordings")
    paths = []
    for number, samples in enumerate((12_000, 40_500)):
        path = folder / f"{number}.wav"
        path.write_bytes(sound_file(noise(samples), subtype="FLOAT"))
        paths.append(str(path))
    return paths


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vit")
    size = {"height": 16, "width": 16}
    transformers.ViTImageProcessor(size=size).save_pretrained(folder)
    save_model(tiny_model("vit", "image-classification", **LABELS), folder, tokenizer_from=folder)
    return folder


@pytest.mark.parametrize("options", [{}, {"top_k": 2, "function_to_apply": "sigmoid"}])
def test_labels_of_images(vit, pictures, options) -> None:
    theirs = transformers.pipeline("image-classification", str(vit), **options)
    ours = tfcli.pipeline("image-classification", vit, batch_size=2, **options)
    assert close(ours(pictures), theirs(pictures), 1e-4)
    image = Image.open(pictures[0])
    row = {"image": {"bytes": Path(pictures[0]).read_bytes(), "path": None}}
    assert ours([image, row]) == ours([pictures[0], pictures[0]])
    with pytest.raises(WorkError, match="neither bytes nor a path"):
        ours(image={"bytes": None})


@pytest.mark.parametrize("pool", [False, True])
def test_vectors_of_images(tmp_path, vit, pictures, pool) -> None:
    transformers.ViTImageProcessor.from_pretrained(vit).save_pretrained(tmp_path)
    transformers.set_seed(0)
    config = transformers.ViTConfig.from_pretrained(vit)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    theirs = transformers.pipeline("image-feature-extraction", str(tmp_path), pool=pool)
    ours = tfcli.pipeline("image-feature-extraction", tmp_path, batch_size=3, pool=pool)
    assert close(ours(pictures), theirs(pictures), 1e-4)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    folder = make_words(tmp_path_factory.mktemp("clip"))
    size = {"shortest_edge": 16}
    crop = {"height": 16, "width": 16}
    transformers.CLIPImageProcessor(size=size, crop_size=crop).save_pretrained(folder)
    end = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]["[SEP]"]
    text = {**TEXT, "vocab_size": 200, "eos_token_id": end, "bos_token_id": 0}
    model = tiny_model(
        "clip", "contrastive", **{**WHOLE, "text_config": text, "vision_config": VISION}
    )
    save_model(model, folder, tokenizer_from=folder)
    return folder


def test_labels_of_any_words_for_images(clip, pictures) -> None:
    options = {"candidate_labels": ["a class", "line of text", "object"]}
    theirs = transformers.pipeline("zero-shot-image-classification", str(clip))
    ours = tfcli.pipeline("zero-shot-image-classification", clip, batch_size=2, **options)
    assert close(ours(pictures), theirs(pictures, **options), 1e-4)
    own = {"image": pictures[0], "candidate_labels": ["a name", "a line"]}
    wanted = theirs(pictures[0], candidate_labels=own["candidate_labels"])
    assert close(ours(own), wanted, 1e-4)
    template = {"hypothesis_template": "The {}"}
    ours = tfcli.pipeline("zero-shot-image-classification", clip, **options, **template)
    assert close(ours(pictures[0]), theirs(pictures[0], **options, **template), 1e-4)
    with pytest.raises(WorkError, match="there are no labels"):
        tfcli.pipeline("zero-shot-image-classification", clip)(pictures[0])


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wav2vec2")
    (folder / "vocab.json").write_text(json.dumps(VOCAB))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "Wav2Vec2CTCTokenizer"}')
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    model = tiny_model("wav2vec2", vocab_size=len(VOCAB), conv_stride=[16, 10, 2])
    save_model(model, folder, tokenizer_from=folder)
    return folder


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_timestamps": "word"},
        {"return_timestamps": "char", "chunk_length_s": 0.5},
        {"chunk_length_s": 0.5, "stride_length_s": (0.1, 0.05)},
    ],
)
def test_what_is_said(wav2vec2, recordings, options) -> None:
    theirs = transformers.pipeline("automatic-speech-recognition", str(wav2vec2))
    ours = tfcli.pipeline("asr", wav2vec2, batch_size=4, **options)
    arrays = [soundfile.read(path, dtype="float32")[0] for path in recordings]
    wanted = [theirs(array, **options) for array in arrays]
    assert close(ours(recordings), wanted)
    row = {"audio": arrays[0], "sampling_rate": 16_000}
    assert close(ours(row), wanted[0])
    assert any(each["text"] for each in wanted)


def test_speech_that_cannot_be_asked_for(wav2vec2) -> None:
    with pytest.raises(UsageError, match="each char or word"):
        tfcli.pipeline("asr", wav2vec2, return_timestamps=True)
    with pytest.raises(UsageError, match="no longer than what it shares"):
        tfcli.pipeline("asr", wav2vec2, chunk_length_s=0.1, stride_length_s=0.06)


def test_labels_of_recordings(tmp_path, recordings) -> None:
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    model = tiny_model("wav2vec2", "audio-classification", conv_stride=[16, 10, 2], **LABELS)
    save_model(model, tmp_path, tokenizer_from=tmp_path)
    theirs = transformers.pipeline("audio-classification", str(tmp_path))
    ours = tfcli.pipeline("audio-classification", tmp_path, batch_size=2)
    arrays = [soundfile.read(path, dtype="float32")[0] for path in recordings]
    assert close(ours(recordings), [theirs(array) for array in arrays])


@pytest.mark.parametrize("length", [0, 1], ids=["short", "long"])
def test_what_whisper_hears(whisper, recordings, length) -> None:
    options = {"language": "fr", "max_new_tokens": 18}
    found = tfcli.pipeline("asr", whisper, **options)(recordings[length])
    _, text = whisper_says(whisper, recordings[length], long=bool(length), language="fr")
    assert found == {"text": text}


def test_whisper_says_when_each_part_is_said(whisper, recordings) -> None:
    options = {"language": "fr", "max_new_tokens": 18}
    timed = tfcli.pipeline("asr", whisper, return_timestamps=True, **options)(recordings[1])
    assert len(timed["chunks"]) > 1 and timed["chunks"][-1]["timestamp"][1] > 1
    assert "".join(chunk["text"] for chunk in timed["chunks"]) == timed["text"]
    with pytest.raises(UsageError, match="windows of its own"):
        tfcli.pipeline("asr", whisper, chunk_length_s=5)
    with pytest.raises(UsageError, match="when each part is said"):
        tfcli.pipeline("asr", whisper, return_timestamps="word")


def test_texts_about_images(llava, photos) -> None:
    text = "<image> what is this"
    ids = llava_says(llava, text, photos[:1])
    wanted = build("Llava").tokenizer.decode(ids, skip_special_tokens=True)
    ours = tfcli.pipeline("image-text-to-text", llava, max_new_tokens=6)
    given = {"text": text, "images": photos[0]}
    assert ours(given) == [{"input_text": text, "generated_text": text + wanted}]
    new = tfcli.pipeline("image-text-to-text", llava, max_new_tokens=6, return_full_text=False)
    assert new([given, given])[1][0]["generated_text"] == wanted
    tensors = tfcli.pipeline("image-text-to-text", llava, max_new_tokens=6, return_tensors=True)
    assert tensors(given)[0]["generated_token_ids"][-len(ids) :] == ids
    asks = tfcli.pipeline("vqa", llava, max_new_tokens=6)
    assert asks(image=photos[0], question=text) == [{"answer": wanted.strip()}]
    says = tfcli.pipeline("image-to-text", llava, max_new_tokens=6)
    assert says(image=photos[0], prompt=text) == [{"generated_text": wanted}]
    assert says(photos[0])[0]["generated_text"]
