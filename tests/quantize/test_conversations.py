"""Calibration on conversations, which the model's chat template makes texts of."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from tests.conftest import SENTENCES
from tfcli.checkpoints.folder import open_model
from tfcli.errors import Problem, UsageError, WorkError
from tfcli.quantize.run import run
from tfcli.quantize.spec import QuantizeSpec
from tfcli.quantize.text import calibration_text, token_windows
from tfcli.recipe.job import Job
from tfcli.tokenizers.chat import encode_chat
from tfcli.tokenizers.chatml import CHATML
from tfcli.tokenizers.load import load_tokenizer

TALKS = [
    [{"role": "user", "content": one}, {"role": "assistant", "content": two}]
    for one, two in zip(SENTENCES, SENTENCES[1:] + SENTENCES[:1], strict=True)
] * 8


@pytest.fixture
def model(tiny_llama, tmp_path):
    """A model with a chat template."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    (folder / "chat_template.jinja").write_text(CHATML)
    return folder


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def spec_of(model, data, **given):
    options = {"method": "gptq", "bits": 4, "group_size": 32, "sequence_length": 32, "samples": 16}
    out = str(data.parent / "q")
    return QuantizeSpec(model=str(model), output=out, data=str(data), **options | given)


def windows(model, data, **given):
    found = calibration_text(spec_of(model, data, **given), Job(), open_model(str(model)))
    return found.windows, found.account


def test_conversations_are_what_the_model_reads_of_them(model, tmp_path):
    data = lines(tmp_path / "talks.jsonl", [{"messages": talk} for talk in TALKS])
    ids, told = windows(model, data, samples=10_000)
    tokenizer = load_tokenizer(model)
    chats = [encode_chat(tokenizer, talk, template=CHATML).ids for talk in TALKS]
    assert tokenizer.decode(chats[0]).count("<|im_start|>") == 2
    expected = token_windows(chats, length=32, samples=10_000, seed=0, prefix=tokenizer.prefix)
    assert told.documents == len(TALKS)
    assert told.windows == told.windows_available == expected.available
    assert torch.equal(ids, expected.ids)


def test_which_windows_are_drawn_follows_from_the_seed(model, tmp_path):
    data = lines(tmp_path / "talks.jsonl", [{"messages": talk} for talk in TALKS])
    first, again, other = (windows(model, data, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_lines_of_text_and_conversations_stand_in_one_file(model, tmp_path):
    """And a model is quantized on them."""
    rows = [{"messages": talk} for talk in TALKS] + [{"text": text} for text in SENTENCES]
    data = lines(tmp_path / "both.jsonl", rows)
    spec = spec_of(model, data)
    (tmp_path / "q").mkdir()
    result = run(spec, Job(folder=tmp_path / "q"))
    assert result.calibration.documents == len(rows)
    assert result.mean_output_error < 0.05


PARTS = [{"type": "image"}, {"type": "text", "text": "what is this?"}]
BAD = {
    "no list": ("hello", "expected a list"),
    "empty": ([], "there is no message"),
    "no role": ([{"content": "hello"}], "a message has no role"),
    "no content": ([{"role": "user"}], "neither content nor tool_calls"),
    "media": ([{"role": "user", "content": PARTS}], "a part of type 'image'"),
}


@pytest.mark.parametrize("way", BAD)
def test_a_bad_line_is_named_with_what_to_do(model, tmp_path, way):
    messages, what = BAD[way]
    data = lines(tmp_path / "talks.jsonl", [{"messages": TALKS[0]}, {"messages": messages}])
    with pytest.raises(WorkError, match=what) as error:
        windows(model, data)
    assert error.value.where.startswith(f"{data}:2")
    assert error.value.fix


def test_without_a_chat_template_the_first_conversation_is_named(tiny_llama, tmp_path):
    data = lines(tmp_path / "talks.jsonl", [{"text": "one"}, {"messages": TALKS[0]}])
    with pytest.raises(UsageError, match="has no chat template") as error:
        windows(tiny_llama, data)
    assert error.value.where == f"{data}:2"
    assert "chat_template.jinja" in error.value.fix


def test_bad_data_is_found_before_any_weight_is_looked_at(model, tmp_path, monkeypatch):
    data = lines(tmp_path / "talks.jsonl", [{"messages": []}])
    monkeypatch.setattr(
        "tfcli.quantize.run.require_sound", lambda *_: pytest.fail("weights were read")
    )
    (tmp_path / "q").mkdir()
    with pytest.raises(Problem, match="there is no message"):
        run(spec_of(model, data), Job(folder=tmp_path / "q"))
