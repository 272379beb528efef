"""Which language is read and written, of models that know several."""

from __future__ import annotations

import json

import pytest

from tests.models.tiny import tiny_model
from tests.tokenizers.folders import make
from tfcli.checkpoints.folder import save_model
from tfcli.commands.app import run
from tfcli.tokenizers.load import load_tokenizer


@pytest.fixture(scope="module")
def mbart(tmp_path_factory):
    tokens = make(tmp_path_factory.mktemp("tokens"), "mbart")
    folder = tmp_path_factory.mktemp("model") / "m"
    rows = load_tokenizer(tokens).vocab_size
    save_model(tiny_model("mbart", vocab_size=rows), folder, tokenizer_from=tokens)
    return folder


@pytest.fixture
def generate(capsys):
    def call(folder, *flags, code=0):
        capsys.readouterr()
        command = ["generate", str(folder), "the cat", "--max-new-tokens", "4", "--json"]
        assert run([*command, *flags]) == code
        return json.loads(capsys.readouterr().out)

    return call


def test_the_languages_are_tokens_of_prompt_and_text(generate, mbart):
    made = generate(mbart, "--source-language", "fr_XX", "--target-language", "de_DE")
    tokenizer = load_tokenizer(mbart)
    assert tokenizer.backend.id_to_token(made["token_ids"][0]) == "de_DE"
    assert tokenizer.backend.id_to_token(made["prompt_ids"][-1]) == "fr_XX"


def test_languages_that_are_not_known_are_refused(generate, mbart, tiny_llama):
    error = generate(mbart, "--target-language", "xx", code=1)["error"]
    assert "no token for the language 'xx'" in error["what"]
    error = generate(tiny_llama, "--target-language", "de_DE", code=2)["error"]
    assert "does not mark languages" in error["what"]
