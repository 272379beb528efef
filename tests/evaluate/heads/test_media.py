"""Tasks of images and recordings, on what the pipelines answer."""

from __future__ import annotations

import json
import string
from pathlib import Path

import jiwer
import numpy as np
import pytest
import transformers
from PIL import Image
from sklearn import metrics as sk

import tfcli
from tests.evaluate.heads.support import asked, make_task, values
from tests.generation.test_media import llava, photos  # noqa: F401 - fixtures
from tests.models.tiny import tiny_model
from tests.processors.audio.clips import noise, sound_file
from tests.processors.audio.test_ctc_tokenizer import VOCAB
from tfcli.checkpoints.folder import save_model
from tfcli.commands.app import run
from tfcli.evaluate.heads.kinds.words import vqa_accuracy
from tfcli.evaluate.samples import read_samples
from tfcli.evaluate.tasks.file import files_of_task

NAMES = ["cat", "dog", "bird"]
IMAGES = {"output_type": "image-classification", "gold": "label"}


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vit")
    size = {"height": 16, "width": 16}
    transformers.ViTImageProcessor(size=size).save_pretrained(folder)
    labels = {"id2label": {str(n): name for n, name in enumerate(NAMES)}}
    model = tiny_model("vit", "image-classification", **labels)
    save_model(model, folder, tokenizer_from=folder)
    return folder


def paint(folder: Path, count: int) -> list[str]:
    """Pictures in a folder."""
    chance, names = np.random.default_rng(0), [f"{number}.png" for number in range(count)]
    for name in names:
        pixels = chance.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return names


def test_images_are_classified(evaluate, vit, tmp_path):
    names = paint(tmp_path, 8)
    golds = [number % 3 for number in range(8)]
    rows = [{"image": name, "label": gold} for name, gold in zip(names, golds, strict=True)]
    metrics = [*asked("acc", "f1_macro", "ece"), {"metric": "acc_top_k", "k": 2}]
    found = evaluate(vit, rows, **IMAGES, metric_list=metrics)
    theirs = transformers.pipeline("image-classification", str(vit), top_k=3)
    answers = theirs([str(tmp_path / name) for name in names])
    order = [[NAMES.index(each["label"]) for each in answer] for answer in answers]
    said = [each[0] for each in order]
    measured = values(found)
    assert measured["acc"] == sk.accuracy_score(golds, said)
    assert measured["f1_macro"] == pytest.approx(sk.f1_score(golds, said, average="macro"))
    right = [gold in each[:2] for gold, each in zip(golds, order, strict=True)]
    assert measured["acc_top_2"] == np.mean(right)
    conditions = found["conditions"]
    assert (conditions["tokenizer_sha256"], conditions["bos"]) == (None, "none")


def test_an_image_counts_by_what_is_in_it(evaluate, vit, tmp_path, monkeypatch):
    """Another picture under the same name is other data, another question and a step to make."""
    names = paint(tmp_path, 2)
    rows = [{"picture": name, "label": 0} for name in names]
    keys = {**IMAGES, "columns": {"image": "picture"}}
    first = evaluate(vit, rows, **keys)
    task = make_task(tmp_path, rows, **keys)
    assert {tmp_path / name for name in names} <= set(files_of_task(task))
    Image.new("RGB", (20, 20), "red").save(tmp_path / names[0])
    import tfcli.evaluate.heads.asking as asking

    sizes, whole = [], asking.answers
    monkeypatch.setattr(
        asking, "answers", lambda *given: (sizes.append(len(given[1])), whole(*given))[1]
    )
    second = evaluate(vit, rows, **keys)
    assert sizes == [1]
    assert second["data_sha256"] != first["data_sha256"]
    (tmp_path / names[0]).unlink()
    monkeypatch.setattr("tfcli.predict.load.load_ready", None)
    assert "there is no such file" in evaluate(vit, rows, **keys, code=2)["what"]


def test_what_is_said_has_jiwers_error_rates(evaluate, tmp_path):
    folder = tmp_path / "wav2vec2"
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(VOCAB))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "Wav2Vec2CTCTokenizer"}')
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    model = tiny_model("wav2vec2", vocab_size=len(VOCAB), conv_stride=[16, 10, 2])
    save_model(model, folder, tokenizer_from=folder)
    paths = []
    for number, samples in enumerate((12_000, 20_500)):
        (tmp_path / f"{number}.wav").write_bytes(sound_file(noise(samples), subtype="FLOAT"))
        paths.append(str(tmp_path / f"{number}.wav"))
    said = [each["text"] for each in tfcli.pipeline("asr", folder)(paths)]
    golds = [f"{said[0]} More, words", "something else"]
    rows = [{"audio": Path(p).name, "text": g} for p, g in zip(paths, golds, strict=True)]
    task = {"output_type": "automatic-speech-recognition", "gold": "text"}
    found = evaluate(folder, rows, **task)
    assert values(found) == pytest.approx(
        {"wer": jiwer.wer(golds, said), "cer": jiwer.cer(golds, said)}
    )
    small = asked("wer", ignore_case=True, ignore_punctuation=True)
    marks = str.maketrans("", "", string.punctuation)
    plain = [[text.lower().translate(marks) for text in each] for each in (golds, said)]
    loose = evaluate(folder, rows, **task, metric_list=small)
    assert values(loose)["wer"] == pytest.approx(jiwer.wer(*plain))
    assert "ignore_case=True" in loose["conditions"]["normalizer"]
    error = evaluate(folder, [{**rows[0], "text": " "}], **task, code=2)
    assert "all golds are empty" in error["what"]


def test_answers_about_images(evaluate, llava, photos, tmp_path):  # noqa: F811 - fixtures
    question = "<image> what is this"
    (answer,) = tfcli.pipeline("vqa", llava, max_new_tokens=4)(image=photos[0], question=question)
    said = answer["answer"]
    row = {"image": str(photos[0]), "question": question}
    task = {"output_type": "visual-question-answering", "gold": "answer"}
    options = {"max_new_tokens": 4}
    rows = [{**row, "answer": said}, {**row, "answer": ["no", "nothing"]}]
    assert values(evaluate(llava, rows, **task, options=options)) == {"exact_match": 0.5}
    rows = [{**row, "answer": [said] * 2 + ["nothing here"] * 8}]
    found = values(evaluate(llava, rows, **task, options=options))
    assert found == {"vqa_accuracy": pytest.approx((2 * 1 / 3 + 8 * 2 / 3) / 10)}
    few = [{**row, "answer": ["a", "b"]}]
    error = evaluate(llava, few, **task, metric_list=asked("vqa_accuracy"), code=2)
    assert "more than 3 people" in error["what"]


@pytest.mark.parametrize(
    ("said", "answers", "share"),
    [
        ("Yes.", ["yes"] * 10, 1),
        ("two", ["2"] * 4 + ["3"] * 6, 1),
        ("the dog's", ["dogs"] * 3 + ["cat"] * 7, (3 * 2 / 3 + 7) / 10),
        ("1,000", ["1000"] * 10, 1),
        ("2.5", ["2.5"] * 5 + ["25"] * 5, 1),
        ("t-shirt", ["t shirt"] * 10, 1),
        ("none", ["0"] * 1 + ["4"] * 9, (9 * 1 / 3) / 10),
    ],
)
def test_an_answer_is_right_when_three_people_gave_it(said, answers, share):
    assert vqa_accuracy(said, answers) == pytest.approx(share)


def test_the_digits_that_scikit_learn_carries(tmp_path, capsys, monkeypatch):
    from sklearn.datasets import load_digits

    monkeypatch.setattr("tfcli.evaluate.kept.own_folder", lambda: tmp_path / "cache")
    folder, size = tmp_path / "model", {"height": 16, "width": 16}
    transformers.ViTImageProcessor(size=size).save_pretrained(folder)
    model = tiny_model("vit", "image-classification", num_labels=10)
    save_model(model, folder, tokenizer_from=folder)
    flags = ["--limit", "30", "--output", str(tmp_path / "out"), "--json", "--quiet"]
    assert run(["eval", str(folder), "--task", "digits", *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    images, golds = (each[898:928] for each in (load_digits().images, load_digits().target))
    pictures = [Image.fromarray((each * 255 / 16).round().astype("uint8")) for each in images]
    theirs = transformers.pipeline("image-classification", str(folder), top_k=1)(pictures)
    said = [int(answer[0]["label"].removeprefix("LABEL_")) for answer in theirs]
    assert values(found)["acc"] == pytest.approx(np.mean(said == golds))
    assert found["tasks"][0]["available"] == 899
    assert set(values(found)) == {"acc", "f1_macro", "ece"}
    samples = read_samples(tmp_path / "out")
    assert [sample.target for sample in samples] == [f"LABEL_{gold}" for gold in golds]
    assert [sample.answer["label"] for sample in samples] == [f"LABEL_{each}" for each in said]
