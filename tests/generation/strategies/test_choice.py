"""Keys of strategies on the command line."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.conftest import make_tiny_llama
from tfcli.commands.app import run


@pytest.fixture
def generate(capsys, tiny_llama):
    def call(*flags, code=0):
        capsys.readouterr()
        command = ["generate", str(tiny_llama), "A class", "--json", "--max-new-tokens", "6"]
        assert run([*command, *map(str, flags)]) == code
        return json.loads(capsys.readouterr().out)

    return call


def test_the_best_beams_are_answers_with_scores(generate):
    found = generate("--num-beams", 3, "--num-return-sequences", 2, "--length-penalty", 0)
    first, second = found["answers"]
    assert 0 > first["score"] > second["score"]
    assert found["generation"]["num_beams"] == 3


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        (["--length-penalty", 2], "length_penalty"),
        (["--early-stopping", "never"], "early_stopping"),
        (["--num-beams", 2, "--num-return-sequences", 3], "num_return_sequences"),
        (["--num-beams", 2, "--seed", 3], "seed"),
        (["--num-assistant-tokens", 2], "num_assistant_tokens"),
        (["--max-matching-ngram-size", 2], "max_matching_ngram_size"),
        (["--num-beams", 2, "--prompt-lookup-num-tokens", 3], "prompt_lookup_num_tokens"),
    ],
    ids=str,
)
def test_keys_without_an_effect_are_named_before_weights_are_read(generate, flags, key):
    found = generate(*flags, code=2)
    assert key in json.dumps(found)


def test_an_assistant_drafts_the_same_text(generate, tiny_llama):
    plain = generate()
    assert generate("--assistant-model", tiny_llama)["token_ids"] == plain["token_ids"]
    assert generate("--prompt-lookup-num-tokens", 3)["token_ids"] == plain["token_ids"]


def test_an_assistant_of_another_tokenizer_is_refused(generate, tmp_path, tiny_tokenizer):
    folder = tmp_path / "other"
    shutil.copytree(tiny_tokenizer, tmp_path / "words")
    file = tmp_path / "words" / "tokenizer.json"
    content = json.loads(file.read_text())
    vocab = content["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    file.write_text(json.dumps(content))
    make_tiny_llama(folder, tmp_path / "words")
    found = generate("--assistant-model", folder, code=2)
    assert "another tokenizer: 2 tokens differ" in json.dumps(found)


@pytest.mark.parametrize(
    "flags",
    [
        ["--num-beams", 4, "--num-beam-groups", 2, "--diversity-penalty", 1.5],
        ["--num-beams", 8, "--force-words", "def"],
        ["--penalty-alpha", 0.9, "--top-k", 5, "--no-do-sample"],
        ["--dola-layers", "low"],
        ["--guidance-scale", 3, "--negative-prompt", "A function"],
        ["--greenlist-ratio", 0.5, "--bias", 8],
        ["--set", "sequence_bias={'.': 30}"],
    ],
    ids=str,
)
def test_flags_change_the_text(generate, flags):
    assert generate(*flags)["token_ids"] != generate()["token_ids"]


def test_words_come_as_they_are_written(generate):
    found = generate("--num-beams", 8, "--force-words", "def")
    assert "def" in found["text"]
    assert found["score"] < 0


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        (["--force-words", "x"], "force_words"),
        (["--num-beams", 4, "--diversity-penalty", 1], "diversity_penalty"),
        (["--num-beams", 4, "--num-beam-groups", 2, "--do-sample"], "num_beam_groups"),
        (["--num-beams", 3, "--num-beam-groups", 2], "num_beam_groups"),
        (["--penalty-alpha", 0.6, "--do-sample"], "penalty_alpha"),
        (["--penalty-alpha", 0.6, "--num-beams", 2], "penalty_alpha"),
        (["--negative-prompt", "x"], "negative_prompt"),
        (["--guidance-scale", 2, "--num-beams", 2], "guidance_scale"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_named(generate, flags, key):
    assert key in json.dumps(generate(*flags, code=2))


def test_a_text_that_stops_ends_beams(generate):
    short = ("--num-beams", 2, "--length-penalty", -5, "--early-stopping", "true")
    stop = generate(*short)["text"][2]
    found = generate(*short, "--stop", stop)
    assert found["generation"]["early_stopping"] is True
    assert stop not in found["text"]
    assert found["finish_reason"] == "stop"
