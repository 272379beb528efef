"""Conversations with images: losses beside transformers, packing, freezing, adapters, bad rows."""

from __future__ import annotations

import json

import pytest
import torch
import transformers

from tests.train import media_models
from tests.train.media_models import LOOKING
from tests.train.objectives.support import fed, require_same
from tfcli.checkpoints.folder import load_model
from tfcli.models.losses import IGNORED
from tfcli.train.spec import TrainSpec


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
        path.write_text("".join(json.dumps(row) + "\n" for row in found))
        values = {
            "output": str(tmp_path / "out"),
            "model": str(looking(kind)),
            "data": str(path),
            "sequence_length": 200,
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
