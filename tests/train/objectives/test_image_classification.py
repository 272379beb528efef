"""Labels of pictures: losses beside transformers, kinds of rows and folders, what is refused."""

from __future__ import annotations

import base64
import io
import json

import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForImageClassification

from tests.train.objectives.conftest import refused
from tests.train.objectives.support import (
    fed,
    made,
    parts,
    require_same,
    straight_and_resumed,
    theirs,
)
from tests.train.objectives.test_processes import CHILD
from tests.train.test_ranks import in_processes
from tfcli.checkpoints.folder import load_model
from tfcli.recipe.job import Job
from tfcli.train.log import read_metrics
from tfcli.train.run import run
from tfcli.train.spec import TrainSpec

AUTO = AutoModelForImageClassification
COLOURS = {"red": (200, 30, 20), "green": (20, 160, 40), "blue": (30, 60, 220)}
VIT = {
    "model_type": "vit",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
    "initializer_range": 0.2,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
SIZES = {key: VIT[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
DINO = {"model_type": "dinov2", "image_size": 16, "patch_size": 8, "mlp_ratio": 2, **SIZES}


def picture(number: int) -> Image.Image:
    """A square of one of three colours on grey, with a size and a place of its own."""
    image = Image.new("RGB", (20 + number, 22), (90, 90, 90))
    colour = list(COLOURS.values())[number % 3]
    ImageDraw.Draw(image).rectangle([number % 5, 3, 9 + number % 5, 14], fill=colour)
    return image


def label(number: int) -> str:
    return list(COLOURS)[number % 3]


def png(number: int) -> bytes:
    file = io.BytesIO()
    picture(number).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def pictures(tmp_path):
    """Rows with 8 pictures beside their file."""
    (tmp_path / "images").mkdir()
    for number in range(8):
        picture(number).save(tmp_path / f"images/{number}.png")
    return [{"image": f"images/{n}.png", "label": label(n)} for n in range(8)]


@pytest.fixture
def spec_of_pictures(tmp_path, rows_file):
    """A function that gives a spec of the objective on some rows, or on a file or folder."""

    def make(rows, **changes) -> TrainSpec:
        values = {
            "objective": "image-classification",
            "output": str(tmp_path / "out"),
            "config": VIT,
            "data": rows_file(rows) if isinstance(rows, list) else str(rows),
            "batch_size": 4,
            "max_steps": 6,
            "precision": "float32",
            "device": "cpu",
        }
        return TrainSpec.model_validate({**values, **changes})

    return make


@pytest.mark.parametrize("config", [VIT, DINO], ids=lambda config: config["model_type"])
@pytest.mark.parametrize("kind", ["single", "multi", "number"])
def test_loss_and_gradients_are_those_of_transformers(
    spec_of_pictures, pictures, tmp_path, kind, config
):
    for number, row in enumerate(pictures):
        if kind != "single":
            row["label"] = [row["label"]] if kind == "multi" else number / 4
    objective, examples, config = fed(spec_of_pictures(pictures, config=config))
    batch = objective.collate(examples.train.items)
    model = made(objective, config)
    reference = theirs(model, tmp_path / "saved", AUTO)
    assert batch["pixel_values"].shape == (8, 3, 16, 16) and objective.count(batch) == 8
    loss = objective.loss(model, batch) / objective.count(batch)
    require_same(loss, model, reference(**batch).loss, reference)


def test_a_batch_has_what_the_models_own_processor_makes(spec_of_pictures, pictures, tmp_path):
    for row in pictures:
        row["image"] = str(tmp_path / row["image"])  # an absolute path will do, too
    objective, examples, _ = fed(spec_of_pictures(pictures))
    objective.processor.save_pretrained(tmp_path / "saved")
    found = objective.collate(examples.train.part(0)[:3])
    again = objective.collate(examples.train.part(0)[:3])
    assert all(torch.equal(found[name], again[name]) for name in found)
    theirs = AutoImageProcessor.from_pretrained(tmp_path / "saved")
    which = examples.train.part(0).order[:3]
    wanted = theirs([picture(n) for n in which], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(found["pixel_values"], wanted, rtol=1e-5, atol=1e-5)
    assert found["labels"].tolist() == [sorted(COLOURS).index(label(n)) for n in which]


def test_a_picture_is_a_path_bytes_an_address_or_a_file_of_a_folder(
    spec_of_pictures, pictures, tmp_path
):
    import pyarrow as pa
    import pyarrow.parquet as pq

    def pixels(data, **changes):
        objective, examples, config = fed(spec_of_pictures(data, **changes))
        assert config.id2label == {"0": "blue", "1": "green", "2": "red"}
        return objective.collate(examples.train.items[:])["pixel_values"]

    wanted = pixels(pictures)
    address = "data:image/png;base64,"
    inline = [
        {**row, "image": address + base64.b64encode(png(n)).decode()}
        for n, row in enumerate(pictures)
    ]
    assert torch.equal(pixels(inline), wanted)
    held = [
        {"picture": {"bytes": png(n), "path": None}, "is": label(n)} for n in range(len(pictures))
    ]
    pq.write_table(pa.Table.from_pylist(held), tmp_path / "rows.parquet")
    columns = {"image": "picture", "label": "is"}
    assert torch.equal(pixels(tmp_path / "rows.parquet", columns=columns), wanted)
    for number in range(8):
        place = tmp_path / "folder/train" / label(number)
        place.mkdir(parents=True, exist_ok=True)
        picture(number).save(place / f"{number}.png")
    other = tmp_path / "folder/validation/red"
    other.mkdir(parents=True)
    picture(0).save(other / "a.png")
    found = pixels(tmp_path / "folder")
    assert torch.equal(found, wanted[[2, 5, 1, 4, 7, 0, 3, 6]]), "in the order of the names"
    folder = str(tmp_path / "folder")
    _, examples, _ = fed(spec_of_pictures(folder, validation=folder))
    assert len(examples.validation) == 1


def test_pictures_are_mixed_and_read_as_they_come(spec_of_pictures, pictures, tmp_path):
    folder = tmp_path / "folder"
    for number in range(8):
        (folder / label(number)).mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / label(number) / f"{number}.png")
    data = spec_of_pictures(pictures).data
    sources = {"rows": {"path": data, "weight": 3}, "folder": {"path": str(folder)}}
    objective, examples, config = fed(spec_of_pictures(folder, data=None, mixture=sources))
    assert config.id2label == {"0": "blue", "1": "green", "2": "red"} and not examples.held
    part = examples.train.part(0)
    of_folder = sum("folder" in each.where for each in part)
    assert (len(part), of_folder) == (16, 4)
    assert objective.collate(part[:5])["pixel_values"].shape == (5, 3, 16, 16)
    named = {**VIT, "id2label": {"0": "red", "1": "green", "2": "blue"}}
    named["label2id"] = {"red": 0, "green": 1, "blue": 2}
    stream = {"stream": True, "stream_buffer": 5}
    objective, examples, _ = fed(spec_of_pictures(pictures, config=named, **stream))
    assert [len(examples.train.part(number)) for number in range(2)] == [5, 3]
    assert len(objective.collate(examples.train.part(1)[:])["labels"]) == 3
    problem = refused(lambda: fed(spec_of_pictures(pictures, **stream)))
    assert problem.where == "stream"
    problem = refused(lambda: fed(spec_of_pictures(folder, config=named, **stream)))
    assert "leave out stream" in problem.fix
    values = spec_of_pictures(pictures).model_dump(exclude_unset=True, exclude={"batch_size"})
    with pytest.raises(ValueError, match="image-classification has no tokens"):
        TrainSpec.model_validate({**values, "batch_tokens": 512})


def test_any_split_of_a_step_gives_the_same_gradients(spec_of_pictures, pictures, tmp_path):
    objective, examples, config = fed(spec_of_pictures(pictures))
    parts(objective, config, examples.train.items, tmp_path / "out")


def test_a_run_that_goes_on_equals_a_straight_one(spec_of_pictures, pictures, tmp_path):
    straight, resumed = straight_and_resumed(
        spec_of_pictures(pictures, checkpoint_every=3), tmp_path
    )
    assert straight == resumed


def test_colours_are_learned_and_transformers_loads_what_is_written(
    spec_of_pictures, pictures, train, tmp_path
):
    spec = spec_of_pictures(pictures, max_steps=60, optimizer={"lr": 5e-3}, batch_size=8)
    result, folder = train(spec)
    losses = [line["loss"] for line in read_metrics(folder / "metrics.jsonl")]
    assert result.train_loss < losses[0] / 3 and result.unit == "row"
    model = AUTO.from_pretrained(folder).eval()
    assert model.config.id2label == {0: "blue", 1: "green", 2: "red"}
    pixels = AutoImageProcessor.from_pretrained(folder)(picture(0), return_tensors="pt")
    with torch.no_grad():
        ours, wanted = load_model(folder, task=None)(**pixels).logits, model(**pixels).logits
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)
    assert int(wanted.argmax()) == 2, "the first picture is red"
    # A classifier that is trained further keeps its labels, and its processor goes along.
    folder.rename(first := tmp_path / "first")
    few = [row for row in pictures if row["label"] != "blue"]
    spec = spec_of_pictures(few, model=str(first), config=None, max_steps=1)
    train(spec)
    assert len(json.loads((folder / "config.json").read_text())["id2label"]) == 3
    assert (folder / "preprocessor_config.json").exists()


def test_a_tower_gets_a_new_head(spec_of_pictures, pictures, train, tmp_path):
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    start = tmp_path / "start"
    settings = {key: value for key, value in VIT.items() if key != "model_type"}
    ViTModel(ViTConfig(**settings)).save_pretrained(start)
    side = {"height": 16, "width": 16}
    ViTImageProcessor(size=side).save_pretrained(start)
    result, folder = train(spec_of_pictures(pictures, model=str(start), config=None, max_steps=1))
    assert result.steps == 1
    assert AUTO.from_pretrained(folder).classifier.weight.shape == (3, 16)


@pytest.mark.parametrize(
    ("image", "what", "place"),
    [
        ("images/nothing.png", "there is no nothing.png", "rows.jsonl:9"),
        ("rows.jsonl", "not an image", "rows.jsonl:9"),
        ("https://example.org/a.png", "nothing is fetched", "rows.jsonl:9"),
        ("data:image/png;base64,%", "holds no image", "rows.jsonl:9"),
        (["a"], "no path, data: address or bytes", "rows.jsonl:9"),
        (None, "nothing in 'image'", "rows.jsonl:9"),
    ],
    ids=str,
)
def test_a_bad_picture_is_named_by_its_row(spec_of_pictures, pictures, image, what, place):
    rows = [*pictures, {"image": image, "label": "red"}]
    problem = refused(lambda: fed(spec_of_pictures(rows)))
    assert what in problem.what and place in problem.where


def test_a_picture_that_is_damaged_behind_its_header_is_named_while_training(
    spec_of_pictures, pictures, tmp_path, train
):
    (tmp_path / "images/5.png").write_bytes(png(5)[:-40])
    problem = refused(lambda: train(spec_of_pictures(pictures)))
    assert "damaged" in problem.what and "rows.jsonl:6" in problem.where


STEADY = {"optimizer": {"eps": 1e-3}}
"""Without it Adam would make a step of the rounding of a gradient that is 0, as of a key's bias."""


def same_weights(one, two):
    expected = load_file(one / "model.safetensors")
    for name, tensor in load_file(two / "model.safetensors").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    "strategy", ["zero3", *(pytest.param(n, marks=pytest.mark.nightly) for n in ("zero1", "zero2"))]
)
def test_two_processes_that_share_the_model_give_what_one_gives(
    spec_of_pictures, pictures, tmp_path, strategy
):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    spec = spec_of_pictures(pictures, max_steps=3, batch_size=2, strategy=strategy, **STEADY)
    in_processes(2, tmp_path, CHILD, json.dumps(spec.model_dump(mode="json")), str(two))
    run(spec_of_pictures(pictures, max_steps=3, **STEADY), Job(folder=one))
    same_weights(one, two)


@pytest.mark.nightly
def test_a_compiled_model_learns_the_same(spec_of_pictures, pictures, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    run(spec_of_pictures(pictures, max_steps=2, **STEADY), Job(folder=one))
    run(spec_of_pictures(pictures, max_steps=2, compile=True, **STEADY), Job(folder=two))
    same_weights(one, two)


def test_keys_of_texts_have_no_effect(spec_of_pictures, pictures, texts):
    for key, value in (("tokenizer", str(texts / "tokenizer")), ("sequence_length", 8)):
        with pytest.raises(ValueError, match=f"{key} has no effect with objective"):
            spec_of_pictures(pictures, **{key: value})


def test_a_new_model_of_several_parts_is_refused(make_spec):
    problem = refused(lambda: fed(make_spec(config={"model_type": "llava"})))
    assert problem.where == "config.model_type" and "tfcli compose" in problem.fix
