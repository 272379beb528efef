"""Vocabularies that are learnt: which transformers reads with equal ids, and the same each time."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest

from tests.tokenizers.texts import NASTY, corpus
from tfcli.commands.app import run
from tfcli.errors import UsageError, WorkError
from tfcli.tokenizers.chat import encode_chat, render_chat
from tfcli.tokenizers.load import load_tokenizer
from tfcli.tokenizers.save import save_vocabulary
from tfcli.tokenizers.training import train_unigram, train_wordpiece

ALGORITHMS = {"bpe": "<|endoftext|>", "wordpiece": "[PAD]", "unigram": "<pad>"}
"""With the token of id 0."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "text.jsonl"
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in corpus()))
    return path


def trained(data, folder, *flags):
    command = ["tokenizer", str(data), str(folder), "--vocab-size", "600", "-q", *flags]
    assert run(command) == 0
    return folder


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_transformers_reads_it_with_equal_ids(algorithm, data, tmp_path, capsys):
    from transformers import AutoTokenizer

    flags = ("--algorithm", algorithm, "--special-tokens", "<sep>", "--json")
    folder = trained(data, tmp_path / "tok", *flags)
    result = json.loads(capsys.readouterr().out)
    ours, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    for text in (*NASTY, "one <sep> two"):
        assert ours.encode(text) == theirs(text)["input_ids"]
        assert ours.batch([text], ["two"]).ids == [theirs(text, "two")["input_ids"]]
        assert ours.decode(ours.encode(text)) == theirs.decode(
            theirs(text)["input_ids"], skip_special_tokens=True
        )
    for role, index in ours.special_ids.items():
        assert getattr(theirs, f"{role}_id") == index
    assert result["algorithm"] == algorithm
    assert result["vocab_size"] == ours.vocab_size == len(theirs) <= 600
    assert result["special_tokens"][ALGORITHMS[algorithm]] == 0
    assert result["special_tokens"]["<sep>"] in ours.encode("one<sep>two")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_its_own_files_alone_give_equal_ids(algorithm, data, tmp_path):
    folder = trained(data, tmp_path / "tok", "--algorithm", algorithm, "--vocabulary-files")
    whole = load_tokenizer(folder)
    (folder / "tokenizer.json").unlink()
    if algorithm == "unigram":  # the model does not say what surrounds a text
        config = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    own = load_tokenizer(folder)
    for text in NASTY:
        if algorithm != "bpe" or "<|" not in text:  # these files do not say what is special
            plain = whole.encode(text, add_special_tokens=algorithm != "bpe")
            assert own.encode(text) == plain


def test_sentencepiece_cuts_as_the_unigram_tokenizer(data, tmp_path):
    import sentencepiece

    folder = trained(data, tmp_path / "tok", "--algorithm", "unigram", "--vocabulary-files")
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    tokenizer = load_tokenizer(folder)
    for line in corpus(40):
        assert tokenizer.encode(line, add_special_tokens=False) == model.encode(line)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_process_learns_the_same(algorithm, data, tmp_path):
    again = "import sys; from tfcli.commands.app import run; sys.exit(run(sys.argv[1:]))"
    digests = set()
    for name in ("a", "b"):
        command = ["tokenizer", str(data), str(tmp_path / name), "--vocab-size", "600", "-q",
                   "--algorithm", algorithm, "--vocabulary-files"]  # fmt: skip
        subprocess.run([sys.executable, "-c", again, *command], check=True)
        files = sorted(path for path in (tmp_path / name).iterdir() if path.name != "run.json")
        content = [(path.name, path.read_bytes()) for path in files]
        digests.add(hashlib.sha256(repr(content).encode()).hexdigest())
    assert len(digests) == 1


def test_words_are_pieces_with_what_goes_on():
    tokenizer = train_wordpiece(["walking walks walked talking talks talked"] * 9, 60)
    found = tokenizer.encode("Walked, talkings")
    assert found.tokens[0] == "[CLS]" and found.tokens[-1] == "[SEP]"
    assert "[UNK]" in found.tokens  # the comma
    words = [token for token in found.tokens if token not in ("[CLS]", "[SEP]", "[UNK]")]
    assert "".join(words).replace("##", "") == "walkedtalkings"
    assert any(token.startswith("##") for token in words)


def test_capitals_are_kept_on_request(data, tmp_path):
    assert trained(data, tmp_path / "cased", "--algorithm", "wordpiece", "--no-lowercase")
    cased = load_tokenizer(tmp_path / "cased")
    assert cased.encode("The") != cased.encode("the")
    uncased = load_tokenizer(trained(data, tmp_path / "uncased", "--algorithm", "wordpiece"))
    assert uncased.encode("The") == uncased.encode("the")


def test_a_vocabulary_has_room_for_letters_and_special_tokens(data, tmp_path, capsys):
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 400)))
    with pytest.raises(UsageError, match="letters of the text alone are 405 tokens") as error:
        train_wordpiece([" ".join(many)], 300)
    assert train_wordpiece([" ".join(many)], 405).get_vocab_size() == 405
    assert error.value.where == "vocab_size"
    with pytest.raises(UsageError, match="letters of the text alone are more than 300"):
        train_unigram([many], 300)
    command = ["tokenizer", str(data), str(tmp_path / "no"), "--vocab-size", "258"]
    assert run(command) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "no room for the special tokens: at least 259" in said
    assert "chat_template none has none" in said
    assert run([*command, "--chat-template", "none", "-q"]) == 0
    assert load_tokenizer(tmp_path / "no").vocab_size == 258
    assert run([*command, "--special-tokens", " "]) == 2
    assert "a token without a letter" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (("--algorithm", "unigram", "--chat-template", "chatml"), "choose algorithm: bpe"),
        (("--algorithm", "wordpiece", "--chat-template", "none"), "choose algorithm: bpe"),
        (("--lowercase",), "choose algorithm: wordpiece"),
    ],
)
def test_a_key_without_effect_is_refused(flags, what, data, tmp_path, capsys):
    assert run(["tokenizer", str(data), str(tmp_path / "no"), *flags]) == 2
    assert what in capsys.readouterr().err


CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": part} for part in ("What is", "1?")]},
    {"role": "assistant", "content": "One."},
    {"role": "user", "content": "And 2?"},
]  # fmt: skip
TEXT = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is\n1?<|im_end|>\n"
    "<|im_start|>assistant\nOne.<|im_end|>\n<|im_start|>user\nAnd 2?<|im_end|>\n"
    "<|im_start|>assistant\n"
)


def test_a_byte_level_bpe_has_chatml_with_its_tokens(data, tmp_path, capsys):
    from transformers import AutoTokenizer

    folder = trained(data, tmp_path / "tok", "--json")
    result = json.loads(capsys.readouterr().out)
    assert result["chat_template"] == "chatml"
    assert result["special_tokens"] == {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    ours, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    assert ours.eos_id == theirs.eos_token_id == ours.bos_id == theirs.bos_token_id == 0
    assert ours.special_ids["eot_token"] == theirs.eot_token_id == 2
    assert ours.encode("a text") == [0, *ours.encode("a text", add_special_tokens=False)]
    rendered = render_chat(ours.chat_template, CHAT, add_generation_prompt=True, special_tokens={})
    assert rendered.text == TEXT
    encoded = encode_chat(ours, CHAT, add_generation_prompt=True)
    expected = theirs.apply_chat_template(
        CHAT, add_generation_prompt=True, return_dict=True, return_assistant_tokens_mask=True
    )
    assert encoded.ids[1:] == expected["input_ids"]  # ours begin with the BOS of every text
    assert encoded.assistant_mask[1:] == expected["assistant_masks"]
    marked = [id for id, on in zip(encoded.ids, encoded.assistant_mask, strict=True) if on]
    assert ours.decode(marked, skip_special_tokens=False) == "One.<|im_end|>"


@pytest.mark.parametrize(
    "flags",
    [("--chat-template", "none"), ("--algorithm", "wordpiece"), ("--algorithm", "unigram")],
)
def test_without_a_template_there_are_no_tokens_of_it(flags, data, tmp_path, capsys):
    folder = trained(data, tmp_path / "plain", *flags, "--json")
    result = json.loads(capsys.readouterr().out)
    assert result["chat_template"] is None and "<|im_end|>" not in result["special_tokens"]
    plain = load_tokenizer(folder)
    assert plain.chat_template is None and "eot_token" not in plain.special_ids


def test_a_vocab_txt_cannot_have_holes(tmp_path):
    from tokenizers import Tokenizer, models

    backend = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 2}, unk_token="[UNK]"))
    with pytest.raises(WorkError, match="ids have holes"):
        save_vocabulary(backend, tmp_path)
    assert save_vocabulary(Tokenizer(models.Unigram([("a", 0.0)], 0)), tmp_path) == []
