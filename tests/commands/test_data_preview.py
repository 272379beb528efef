"""`tfcli data preview`: what is learned, shown before anything is trained."""

from __future__ import annotations

import json

import pytest

from tests.train import media_models
from tests.train.conftest import chats  # noqa: F401 - a fixture
from tfcli.commands.app import run
from tfcli.tokenizers.run import train_bpe, write_tokenizer

TALK = {
    "messages": [
        {"role": "user", "content": "the cat?"},
        {"role": "assistant", "content": "sat on a mat"},
    ]
}


@pytest.fixture
def recipe(tmp_path, chats):  # noqa: F811
    """A function that writes the recipe of a training and gives its path."""

    def write(rows=(TALK, TALK), **changes) -> str:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        keys = {
            "command": "train",
            "output": str(tmp_path / "out"),
            "config": {"model_type": "llama"},
            "tokenizer": str(chats / "tokenizer"),
            "data": str(tmp_path / "rows.jsonl"),
            "max_steps": 1,
            **changes,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(json.dumps(keys))
        return str(path)

    return write


def previewed(capsys, *arguments) -> dict:
    assert run(["data", "preview", *arguments, "--json", "-q"]) == 0
    return json.loads(capsys.readouterr().out)


def test_examples_are_shown_with_what_is_learned(recipe, capsys):
    found = previewed(capsys, recipe(), "--samples", "1")
    (sample,) = found["samples"]
    asked = "<|endoftext|><|im_start|>user\nthe cat?<|im_end|>\n<|im_start|>assistant\n"
    assert sample["rows"] == [
        [{"text": asked, "learned": False}, {"text": "sat on a mat<|im_end|>", "learned": True}]
    ]
    assert found["tokens"] == 2 * sample["tokens"] and found["learned"] == 2 * sample["learned"]
    assert found["learned_share"] == pytest.approx(sample["learned"] / sample["tokens"])


def test_packed_rows_are_shown_one_by_one(recipe, capsys):
    found = previewed(capsys, recipe(), "--set", "rows.packing=true")
    (sample,) = found["samples"]
    assert found["examples"] == 1 and len(sample["rows"]) == 2
    assert sample["rows"][0] == sample["rows"][1]


def test_lengths_are_counted_in_ranges(recipe, capsys):
    rows = [{"prompt": "the", "completion": " cat" * n} for n in (1, 1, 1, 40)]
    found = previewed(capsys, recipe(rows))
    counts = [each["examples"] for each in found["lengths"]]
    assert counts[0] == 3 and counts[-1] == 1 and sum(counts) == found["examples"] == 4
    assert found["lengths"][0]["least"] == 1
    for one, other in zip(found["lengths"], found["lengths"][1:], strict=False):
        assert one["most"] + 1 == other["least"]


def test_plain_text_is_learned_whole(recipe, capsys):
    found = previewed(capsys, recipe([{"text": "the cat sat on a mat"}] * 30), "--samples", "1")
    assert found["learned_share"] == 1
    (parts,) = found["samples"][0]["rows"]
    assert [part["learned"] for part in parts] == [False, True]


def test_a_table_without_colours_puts_what_is_learned_into_brackets(recipe, capsys):
    assert run(["data", "preview", recipe(), "--samples", "1"]) == 0
    out = capsys.readouterr().out
    assert "assistant\n[[sat on a mat<|im_end|>]]" in out
    assert "Lengths" in out and "█" in out


def test_the_validation_is_counted(recipe, capsys):
    found = previewed(capsys, recipe([TALK, {**TALK, "tools": [{"x": 1}]}], validation_share=0.5))
    assert (found["examples"], found["validation_examples"]) == (1, 1)


def test_no_weights_are_needed_or_made(recipe, capsys, tmp_path):
    previewed(capsys, recipe())
    assert not (tmp_path / "out").exists()


def test_an_answer_alone_is_learned(recipe, capsys):
    rows = [{"prompt": "the", "completion": " cat", "label": n == 0} for n in range(2)]
    found = previewed(capsys, recipe(rows, objective="kto"), "--samples", "1")
    (row,) = found["samples"][0]["rows"]
    assert [part["learned"] for part in row] == [False, True]
    assert row[0]["text"].endswith("the") and row[1]["text"].startswith(" cat")
    pairs = [{"prompt": "the", "chosen": " cat", "rejected": " dog"}]
    found = previewed(capsys, recipe(pairs, objective="dpo"))
    assert [row[1]["text"][:4] for row in found["samples"][0]["rows"]] == [" cat", " dog"]


def test_blanks_and_middles_are_shown_with_their_tokens(recipe, capsys, tmp_path):
    names = ("[MASK]", "<|startofpiece|>", "<|endofpiece|>")
    fim = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
    write_tokenizer(train_bpe(["the cat sat on a mat"] * 9, 280, (*names, *fim)), tmp_path)
    rows = [{"text": "the cat sat on a mat " * 3}] * 9
    keys = {"tokenizer": str(tmp_path), "sequence_length": 32}
    glm = recipe(rows, objective="glm", config={"model_type": "glm"}, **keys)
    part_a, *blanks = previewed(capsys, glm)["samples"][0]["rows"]
    assert not any(part["learned"] for part in part_a) and blanks
    assert sum(part["text"].count("[MASK]") for part in part_a) == len(blanks)
    for begin, content in blanks:
        assert (begin["text"], begin["learned"]) == ("<|startofpiece|>", False)
        assert content["text"].endswith("<|endofpiece|>") and content["learned"]
    found = previewed(capsys, recipe(rows, fim={"rate": 1}, **keys), "--samples", "3")
    text = "".join(p["text"] for each in found["samples"] for row in each["rows"] for p in row)
    assert all(name in text for name in fim)


def test_objectives_that_learn_no_tokens_have_nothing_to_show(recipe, capsys):
    rows = [{"text": "the", "label": "a"}, {"text": "cat", "label": "b"}]
    assert run(["data", "preview", recipe(rows, objective="sequence-classification")]) == 2
    shown = capsys.readouterr().err
    assert "learns something else" in shown and "causal-lm" in shown and "kto" in shown


def test_what_is_no_training_is_refused(recipe, capsys, tmp_path):
    assert run(["data", "preview", "sft"]) == 2
    assert "several steps could be meant: base, sft" in capsys.readouterr().err
    assert run(["data", "preview", "sft", "--step", "texts"]) == 2
    assert "texts is no training" in capsys.readouterr().err
    assert run(["data", "preview", recipe(data=str(tmp_path / "none.jsonl"))]) == 2
    assert "none.jsonl" in capsys.readouterr().err


def test_media_and_the_tokens_that_stand_for_them_are_shown(recipe, tmp_path, capsys):
    model = media_models.save("Llava", tmp_path / "llava")
    rows = media_models.rows(tmp_path)
    capsys.readouterr()  # what transformers has said
    keys = {"config": None, "tokenizer": None, "model": str(model), "sequence_length": 400}
    path = recipe(rows, **keys)
    found = previewed(capsys, path, "--samples", "4")
    assert sorted(sample["media"] for sample in found["samples"]) == [0, 1, 1, 3]
    assert found["features"] == 5 * 16 == sum(each["features"] for each in found["samples"])
    texts = ["".join(part["text"] for part in each["rows"][0]) for each in found["samples"]]
    assert any("user: <image> x 16What is it?" in text for text in texts)
    wrong = {"messages": [{"role": "user", "content": "<image>?"}, TALK["messages"][1]]}
    assert run(["data", "preview", recipe([*rows, wrong], **keys), "--json", "-q"]) == 1
    problem = json.loads(capsys.readouterr().out)["error"]
    assert "placeholder" in problem["what"] and "rows.jsonl:5" in problem["where"]
