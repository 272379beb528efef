"""Keys of strategies on the command line."""

from __future__ import annotations

import json

import pytest

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
    ],
    ids=str,
)
def test_keys_without_an_effect_are_named_before_weights_are_read(generate, flags, key):
    found = generate(*flags, code=2)
    assert key in json.dumps(found)
