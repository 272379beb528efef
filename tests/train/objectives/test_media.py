"""Conversations with images: losses beside transformers, packing, freezing, adapters, bad rows."""

from __future__ import annotations

import base64
import json
import random
import shutil
import wave
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from tests.compose.conftest import compose, plain, save_clip
from tests.conftest import make_tiny_llama
from tests.models.media_cases.whisper import SETTINGS as WHISPER
from tests.train import media_models
from tests.train.media_models import LOOKING
from tests.train.objectives.conftest import refused
from tests.train.objectives.support import fed, require_same, straight_and_resumed
from tests.train.objectives.test_processes import CHILD
from tests.train.test_ranks import in_processes
from tfcli.checkpoints.folder import load_model
from tfcli.console import Console
from tfcli.estimate.training import Start, count
from tfcli.models.losses import IGNORED
from tfcli.recipe.job import Job
from tfcli.train.feeds.media import MediaExample
from tfcli.train.log import read_metrics
from tfcli.train.run import run
from tfcli.train.spec import TrainSpec

TOLD = {"role": "assistant", "content": "a cat"}
ASKED = [{"role": "user", "content": "<image> What is it?"}, TOLD]
SEEN = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}


@pytest.fixture(scope="session")
def looking(tmp_path_factory):
    """A function that gives the folder of a tiny model that looks at images."""
    made = {}

    def give(kind: str):
        if kind not in made:
            made[kind] = media_models.save(kind, tmp_path_factory.mktemp("looking") / kind)
        return made[kind]

    return give


@pytest.fixture
def spec_of_chats(tmp_path, looking):
    """A function that gives a spec of a kind of model on the rows of `media_models`."""

    def make(kind="Llava", found=None, **changes) -> TrainSpec:
        found = media_models.rows(tmp_path) if found is None else found
        path = tmp_path / "rows.jsonl"
        text = "".join(json.dumps(row) + "\n" for row in found)
        if not path.exists() or path.read_text() != text:  # what is read stays as it is
            path.write_text(text)
        values = {
            "output": str(tmp_path / "out"),
            "model": str(looking(kind)),
            "data": str(path),
            "sequence_length": 400,
            "batch_size": 2,
            "max_steps": 4,
            "precision": "float32",
            "device": "cpu",
        }
        return TrainSpec.model_validate({**values, **changes})

    return make


def loaded(folder, **options):
    return load_model(str(folder), task="image-text-to-text", attention="eager", **options).eval()


def reference(folder):
    auto = transformers.AutoModelForImageTextToText
    return auto.from_pretrained(folder, attn_implementation="eager").eval()


def in_turn(examples):
    """The examples in the order of their rows."""
    return [examples.train.samples[number] for number in range(len(examples.train.samples))]


@pytest.mark.parametrize("kind", LOOKING)
def test_loss_and_gradients_are_those_of_transformers(spec_of_chats, looking, kind):
    objective, examples, _ = fed(spec_of_chats(kind))
    batch = objective.collate(in_turn(examples))
    model, theirs = loaded(looking(kind)), reference(looking(kind))
    loss = objective.loss(model, batch) / objective.count(batch)
    given = dict(batch)
    targets = given.pop("targets")
    labels = torch.nn.functional.pad(targets, (1, 0), value=IGNORED)[:, :-1]
    labels = torch.cat((labels, targets[:, -1:]), 1)
    ids = torch.cat((given["input_ids"], given["input_ids"][:, -1:]), 1)
    given["input_ids"] = ids
    for name in ("token_type_ids", "mm_token_type_ids"):
        if name in given:
            given[name] = torch.nn.functional.pad(given[name], (0, 1))
    wanted = theirs(**given, labels=labels).loss
    require_same(loss, model, wanted, theirs)


@pytest.mark.parametrize("kind", LOOKING)
def test_packed_rows_with_images_have_the_gradients_of_single_ones(spec_of_chats, looking, kind):
    single, examples, _ = fed(spec_of_chats(kind))
    packed, packs, _ = fed(spec_of_chats(kind, rows={"packing": True}))
    pack = packs.train.part(0)
    batch = packed.collate(list(pack))
    rows_in = [int(each["segment_ids"].max()) + 1 for each in pack]
    assert sum(rows_in) == 4 and max(rows_in) > 1
    grads = []
    for objective, given in ((single, single.collate(in_turn(examples))), (packed, batch)):
        model = load_model(str(looking(kind)), task="image-text-to-text").eval()
        loss = objective.loss(model, given)
        loss.backward()
        # LLaVA's features are those of the layer before the tower's last one.
        each = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        grads.append((loss.item(), torch.cat(each)))
    assert grads[0][0] == pytest.approx(grads[1][0], rel=1e-6)
    assert (grads[0][1] - grads[1][1]).norm() <= 1e-5 * grads[0][1].norm()


def test_only_the_assistants_words_are_learned_and_no_feature_is(spec_of_chats):
    objective, examples, _ = fed(spec_of_chats())
    tokenizer, features = objective.media.tokenizer, objective.media.processor.run_ids
    texts = []
    for example in in_turn(examples):
        learned = example["targets"][example["targets"] != IGNORED].tolist()
        texts.append(tokenizer.decode(learned, skip_special_tokens=False))
        ids = example["input_ids"].tolist()
        assert sum(id in features for id in ids) == 16 * len(getattr(example, "media", ()))
    assert texts == [
        " a cat on a mat<eos>",
        " a house<eos> another dog<eos>",
        " the dog ran<eos>",
        " this old house<eos>",
    ]
    _, examples, _ = fed(spec_of_chats(rows={"train_on": "all"}))
    for example in in_turn(examples):
        assert not set(example["targets"].tolist()) & set(features)


def test_all_passes_run_the_tower(spec_of_chats, looking):
    """Else processes that share its weights would wait for each other for ever."""
    objective, examples, _ = fed(spec_of_chats())
    batch = objective.collate([in_turn(examples)[2]])
    assert len(batch["pixel_values"]) == 1 and len(batch["input_ids"]) == 2
    plain = load_model(str(looking("Llava")), task="image-text-to-text", attention="eager").eval()
    loss = objective.loss(plain, batch)
    alone = {name: batch[name][:1] for name in ("input_ids", "targets")}
    assert loss.item() == pytest.approx(objective.loss(plain, alone).item(), rel=1e-6)
    loss.backward()
    tower = dict(plain.named_parameters())["model.vision_tower.embeddings.patch_embedding.weight"]
    assert tower.grad is not None and not tower.grad.any()


def test_a_trained_model_is_loaded_by_transformers_with_its_processor(
    spec_of_chats, looking, train
):
    spec = spec_of_chats("Gemma3", max_steps=40, batch_size=4, optimizer={"lr": 5e-3})
    result, folder = train(spec)
    losses = [line["loss"] for line in read_metrics(folder / "metrics.jsonl")]
    assert result.train_loss < losses[0] / 3 and result.unit == "token"
    processor = transformers.AutoProcessor.from_pretrained(folder)
    talk = media_models.rows(folder)[0]["messages"][:1]
    talk[0]["content"][0]["image"] = str(folder / "0.png")
    options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
    inputs = processor.apply_chat_template(talk, return_tensors="pt", **options)
    ours, theirs = loaded(folder), reference(folder)
    with torch.no_grad():
        got, wanted = ours(**inputs).logits, theirs(**inputs).logits
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_a_run_that_goes_on_equals_a_straight_one(spec_of_chats, tmp_path):
    straight, resumed = straight_and_resumed(spec_of_chats(checkpoint_every=2), tmp_path)
    assert straight == resumed and len(straight) == 4


def test_a_frozen_tower_stays_as_it_is(spec_of_chats, looking, train):
    _, folder = train(spec_of_chats(freeze=["vision_tower"], optimizer={"lr": 1e-2}))
    before, after = (loaded(each).state_dict() for each in (looking("Llava"), folder))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same and same == {name for name in before if "vision_tower" in name}


@pytest.mark.parametrize(
    ("targets", "where"),
    [
        (["q_proj", "linear_1"], ["vision_tower", "multi_modal_projector", "language_model"]),
        (r".*vision_tower.*\.(fc1|k_proj)", ["vision_tower"]),
        (r".*multi_modal_projector\.linear_2", ["multi_modal_projector"]),
        (r".*language_model.*\.v_proj", ["language_model"]),
    ],
    ids=["names", "tower", "projector", "language"],
)
def test_an_adapter_on_any_part_is_read_by_peft(spec_of_chats, looking, train, targets, where):
    import peft

    adapter = {"type": "lora", "rank": 2, "target_modules": targets}
    _, folder = train(spec_of_chats(adapter=adapter, optimizer={"lr": 1e-1}))
    assert not list(folder.glob("model*.safetensors"))
    objective, examples, _ = fed(spec_of_chats())
    batch = dict(objective.collate(in_turn(examples)))
    del batch["targets"]
    plain = reference(looking("Llava"))
    with torch.no_grad():
        before = plain(**batch).logits
        theirs = peft.PeftModel.from_pretrained(plain, folder)
        wanted = theirs(**batch).logits
        got = loaded(folder)(**batch).logits
    changed = {name for name, _ in theirs.named_parameters() if "lora_B" in name}
    for part in ("vision_tower", "multi_modal_projector", "language_model"):
        assert (part in where) == any(part in name for name in changed), part
    assert (wanted - before).abs().max() > 1e-3, "it says something"
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_rows_with_images_are_read_as_they_come(spec_of_chats, looking):
    """The first buffer says whether there are images; packed with others they are learned alike."""
    changes = {"stream": True, "stream_buffer": 4, "rows": {"packing": True}}
    streamed, examples, _ = fed(spec_of_chats(**changes))
    whole, packs, _ = fed(spec_of_chats(rows={"packing": True}))
    assert streamed.spare is not None and not examples.held
    losses = []
    for objective, found in ((streamed, examples), (whole, packs)):
        batch = objective.collate(list(found.train.part(1)))
        assert len(batch["pixel_values"]) == 5
        losses.append(objective.loss(loaded(looking("Llava")), batch).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    text, *others = media_models.rows(Path(spec_of_chats().data).parent)[2:]
    late = spec_of_chats(found=[text, *others], stream=True, stream_buffer=1)
    _, examples, _ = fed(late)
    problem = refused(lambda: examples.train.part(1))
    assert "none of the first buffer has any" in problem.what and "rows.jsonl:2" in problem.where


def test_images_and_texts_are_mixed(spec_of_chats, tmp_path):
    """The shortest row with an image goes beside batches of the other source."""
    spec = spec_of_chats()
    (tmp_path / "plain.txt").write_text("the dog ran in winter and the cat saw it " * 60)
    sources = {"seen": {"path": spec.data}, "read": {"path": str(tmp_path / "plain.txt")}}
    objective, examples, _ = fed(spec_of_chats(data=None, mixture=sources))
    part = examples.train.part(0)
    looking = [isinstance(each, MediaExample) for each in part]
    assert any(looking) and not all(looking)
    batch = objective.collate(list(part))
    assert len(batch["pixel_values"]) == sum(len(getattr(each, "media", ())) for each in part)
    texts = [each for each, has in zip(part, looking, strict=True) if not has]
    assert len(objective.collate(texts[:1])["input_ids"]) == 2


@pytest.mark.parametrize(
    "kind",
    [
        each if each == "Llava" else pytest.param(each, marks=pytest.mark.nightly)
        for each in LOOKING
    ],
)
def test_the_tower_is_counted_by_an_estimate(spec_of_chats, kind):
    """Where a row holds an image."""
    seen, read = (
        count(Start.of(spec), processes=1, precision="float32", heap=None).lasting
        for spec in (spec_of_chats(kind), spec_of_chats(kind, sequence_length=3))
    )
    assert seen["weights"] == read["weights"] and seen["gradients"] > read["gradients"] > 0


def test_long_rows_are_left_out_and_no_image_is_cut(spec_of_chats, capsys):
    def found(length, truncate):
        spec = spec_of_chats(sequence_length=length, rows={"truncate": truncate})
        objective, examples, _ = fed(spec, Console())
        return objective, in_turn(examples), capsys.readouterr().err

    objective, examples, said = found(70, "cut")
    assert len(examples) == 3 and "1 of 4 rows would lose a part of their media" in said
    assert "pixel_values" in objective.collate(examples)  # as many features as places
    _, examples, said = found(70, "drop")
    assert len(examples) == 3 and "1 of 4 rows have more tokens than sequence_length" in said


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"images": ["0.png", "1.png"], "messages": ASKED}, "2 images, and 1 stand in"),
        ({"images": [], "messages": [SEEN, TOLD]}, "there are places for more"),
        ({"messages": [{"role": "user", "content": "What is <image>?"}, TOLD]}, "1 placeholder"),
        ({"images": ["9.png"], "messages": ASKED}, "there is no 9.png"),
        ({"images": ["rows.jsonl"], "messages": ASKED}, "not an image"),
        ({"images": ["https://a.b/c.png"], "messages": ASKED}, "nothing is fetched"),
        ({"videos": ["0.png"], "messages": ASKED}, "part of type 'video'"),
        ({"images": ["0.png"], "prompt": "<image>", "completion": "a"}, "no place for 'images'"),
    ],
    ids=str,
)
def test_a_row_whose_images_do_not_fit_is_named(spec_of_chats, tmp_path, row, what):
    good = media_models.rows(tmp_path)
    first = good[:1] if "prompt" not in row else []
    problem = refused(lambda: fed(spec_of_chats(found=[*first, row])))
    assert what in problem.what and f"rows.jsonl:{len(first) + 1}" in problem.where


@pytest.mark.parametrize("kind", ["Llava", "Qwen2VL"])
@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": [{"type": "video", "video": "a.mp4"}]}, TOLD]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,"}}
                    ],
                },
                TOLD,
            ]
        },
        {"video": "a.mp4", "messages": ASKED},
    ],
    ids=["a part", "OpenAI's part", "a column"],
)
def test_a_row_with_a_video_is_named_also_where_the_model_takes_some(
    spec_of_chats, tmp_path, kind, row
):
    found = [*media_models.rows(tmp_path), row]
    problem = refused(lambda: fed(spec_of_chats(kind, found=found)))
    assert "part of type 'video', and training takes image" in problem.what
    assert problem.where.endswith("rows.jsonl:5")


def test_all_rows_that_do_not_fit_are_counted(spec_of_chats, tmp_path):
    wrong = {"messages": [{"role": "user", "content": "What is <image>?"}, TOLD]}
    found = [*media_models.rows(tmp_path), wrong, wrong]
    problem = refused(lambda: fed(spec_of_chats(found=found)))
    assert "of 6 rows, 2 have other places" in problem.what
    assert "rows.jsonl:5" in problem.where and "rows.jsonl:6" in problem.where


def test_a_processor_of_another_model_is_found_before_weights_are_read(
    spec_of_chats, looking, tmp_path
):
    other = tmp_path / "other"
    shutil.copytree(looking("Llava"), other)
    file = other / "processor_config.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "num_additional_image_tokens": 0}))
    problem = refused(lambda: fed(spec_of_chats(model=str(other))))
    assert "puts 15 tokens <image>" in problem.what and "makes 16 features" in problem.what


def test_images_are_refused_by_a_model_of_texts(make_spec, chats, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in media_models.rows(tmp_path)))
    spec = make_spec(data=str(path), tokenizer=str(chats / "tokenizer"), sequence_length=64)
    assert "the model reads texts alone" in refused(lambda: fed(spec)).what


@pytest.mark.nightly
@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "zero1", "zero2", "zero3"])
def test_two_processes_give_what_one_gives_where_one_has_no_image(
    spec_of_chats, tmp_path, strategy
):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    spec = spec_of_chats(batch_size=1, strategy=strategy)
    in_processes(2, tmp_path, CHILD, json.dumps(spec.model_dump(mode="json")), str(two))
    run(spec_of_chats(batch_size=2), Job(folder=one))
    expected = load_file(one / "model.safetensors")
    for name, tensor in load_file(two / "model.safetensors").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-4, msg=name)


def test_a_composed_model_learns_from_conversations_too(
    spec_of_chats, tmp_path, tmp_path_factory, chats
):
    """With one encoder and its own placeholder, packed too."""
    folder = tmp_path_factory.mktemp("composed")
    settings = {"vocab_size": 300 + 4, "max_position_embeddings": 512}
    words = make_tiny_llama(folder / "words", chats / "tokenizer", **settings)
    tower = save_clip(folder / "tower")
    compose(folder / "whole", words, {"vision": {"model": str(tower), "drop_first": True}})
    values = {"model": str(folder / "whole")}
    single, examples, _ = fed(spec_of_chats(**values))
    packed, packs, _ = fed(spec_of_chats(**values, rows={"packing": True}))
    batches = single.collate(in_turn(examples)), packed.collate(list(packs.train.part(0)))
    assert len(batches[0]["pixel_values"]) == 5
    losses = []
    for objective, batch in zip((single, packed), batches, strict=True):
        model = loaded(folder / "whole")
        losses.append(objective.loss(model, batch).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_recordings_and_images_stand_in_one_conversation(spec_of_chats, tmp_path, chats):
    """Whisper's encoder makes as many features of every recording."""
    tower = save_clip(tmp_path / "tower")
    ear = tmp_path / "ear"
    config = transformers.WhisperConfig(**plain(WHISPER, max_source_positions=50))
    transformers.WhisperForConditionalGeneration(config).save_pretrained(ear)
    transformers.WhisperFeatureExtractor(feature_size=6, chunk_length=1).save_pretrained(ear)
    settings = {"vocab_size": 304, "max_position_embeddings": 512}
    words = make_tiny_llama(tmp_path / "words", chats / "tokenizer", **settings)
    parts = {"vision": {"model": str(tower)}, "audio": {"model": str(ear)}}
    compose(tmp_path / "whole", words, parts)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(random.Random(0).randbytes(9_000)))
    held = base64.b64encode((tmp_path / "a.wav").read_bytes()).decode()
    media_models.rows(tmp_path)  # the images

    def row(*parts):
        texts = [{"type": "text", "text": p} if isinstance(p, str) else p for p in parts]
        return {"messages": [{"role": "user", "content": texts}, TOLD]}

    found = [
        row({"type": "image", "path": "0.png"}, "sounds like", {"type": "audio", "url": "a.wav"}),
        row({"type": "input_audio", "input_audio": {"data": held, "format": "wav"}}, "?"),
        {"audios": ["a.wav"], "messages": [{"role": "user", "content": "What is <audio>?"}, TOLD]},
    ]
    objective, examples, _ = fed(spec_of_chats(found=found, model=str(tmp_path / "whole")))
    batch = objective.collate(in_turn(examples))
    heard = batch["audio.input_features"]
    assert len(heard) == 3 and len(batch["vision.pixel_values"]) == 1
    assert torch.equal(heard[0], heard[1]) and torch.equal(heard[0], heard[2])
    loss = objective.loss(loaded(tmp_path / "whole"), batch)
    assert loss.isfinite() and loss > 0
