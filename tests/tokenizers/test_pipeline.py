"""Steps of a tokenizer.json that would take the machine are refused by name, before they run."""

from __future__ import annotations

import json
import os

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from tfcli.errors import WorkError
from tfcli.limits import MAX_STEPS
from tfcli.tokenizers.backend import panics_are_errors
from tfcli.tokenizers.load import load_tokenizer

LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
TOKEN = {"id": "[C]", "ids": [1], "tokens": ["[C]"]}
TEXT = {"Sequence": {"id": "A", "type_id": 0}}
SPECIAL = {"SpecialToken": {"id": "[C]", "type_id": 0}}


def replace(pattern, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def chain(*steps):
    return {"type": "Sequence", "normalizers": list(steps)}


def cut(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def joined(*steps):
    return {"type": "Sequence", "decoders": list(steps)}


def around(single, tokens=None):
    tokens = {"[C]": TOKEN} if tokens is None else tokens
    return {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": tokens}


def deep(levels):
    step = {"type": "NFC"}
    for _ in range(levels):
        step = chain(step)
    return step


REFUSED = [
    ("normalizer", chain(*[replace("a", "aa")] * 40), "times as long", "step"),
    ("normalizer", chain(*[replace("qzx", "qzxqzx")] * 40), "times as long", "step"),
    ("normalizer", chain(*[replace("", "xxxx", "Regex")] * 9), "where nothing stands", "step"),
    ("normalizer", chain(*[replace("^", "a", "Regex")] * 2), "where nothing stands", "step 2 "),
    (
        "decoder",
        {"type": "Strip", "content": "a", "start": 1, "stop": 9},
        "more than one letter",
        "step 1 ",
    ),
    ("normalizer", replace("a", "z" * 5_000_000), "more than 1,000", "step 1 "),
    ("normalizer", replace("", "xx"), "of no length", "step 1 "),
    ("normalizer", replace("(a+)+$", "x", "Regex"), "'(a+)+$' repeats", "step 1 "),
    ("normalizer", {"type": "Prepend", "prepend": "z" * 2_000}, "its prepend has", "step 1 "),
    ("normalizer", chain(*[{"type": "Prepend", "prepend": "z" * 900}] * 9), "times", "step"),
    ("normalizer", chain(*[{"type": "NFC"}] * (MAX_STEPS + 1)), "65 steps", "normalizer"),
    ("normalizer", deep(30), "too many levels", "normalizer"),
    ("normalizer", {"type": "Python"}, "'Python' is no kind of normalizer", "step 1 "),
    ("normalizer", {"prepend": "a"}, "with its type", "normalizer"),
    ("pre_tokenizer", cut(*[LEVEL] * 30), "times as long", "step"),
    ("pre_tokenizer", {"type": "FixedLength", "length": 0}, "of no letters", "step 1 "),
    (
        "pre_tokenizer",
        {"type": "Split", "pattern": {"Regex": ".*x"}, "behavior": "Isolated", "invert": False},
        "from each place",
        "step 1 ",
    ),
    ("decoder", joined(*[replace("e", "ee")] * 40, {"type": "Fuse"}), "times as long", "step"),
    ("post_processor", around([SPECIAL, TEXT], {}), "of no special token", "step 1 "),
    ("post_processor", around([TEXT, TEXT]), "each text once", "step 1 "),
    ("post_processor", around([SPECIAL]), "each text once", "step 1 "),
    (
        "post_processor",
        around([SPECIAL, TEXT], {"[C]": {"id": "[C]", "ids": [1] * 2000, "tokens": ["c"] * 2000}}),
        "puts 2,000 ids",
        "step 1 ",
    ),
    (
        "post_processor",
        around([SPECIAL, TEXT], {"[C]": {"id": "[C]", "ids": [1, 2], "tokens": ["c"]}}),
        "as many ids as tokens",
        "step 1 ",
    ),
]


def write(folder, **changes):
    backend = Tokenizer(models.BPE({"a": 0, "b": 1}, [], unk_token=None))
    content = json.loads(backend.to_str()) | changes
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(("part", "step", "what", "where"), REFUSED)
def test_a_step_without_bounds_is_refused_by_name(tmp_path, capfd, part, step, what, where):
    with pytest.raises(WorkError) as error:
        load_tokenizer(write(tmp_path, **{part: step}))
    assert what in error.value.what
    assert f"tokenizer.json, {part}" in error.value.where and where in error.value.where
    assert capfd.readouterr().err == ""


def test_steps_that_run_over_added_tokens_are_looked_at_first(tmp_path):
    """The library normalizes added tokens while it reads a file."""
    token = {"id": 2, "content": "aaaa", "single_word": False, "lstrip": False, "rstrip": False}
    added = [{**token, "normalized": True, "special": False}]
    folder = write(tmp_path, normalizer=chain(*[replace("a", "aa")] * 40), added_tokens=added)
    with pytest.raises(WorkError, match="times as long"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (
            {"type": "BPE", "vocab": {"a": 0}, "merges": [], "end_of_word_suffix": "z" * 99},
            "suffix",
        ),
        ({"type": "BPE", "vocab": {"a" * 9999: 0}, "merges": []}, "9,999 letters"),
        (
            {
                "type": "WordPiece",
                "vocab": {"a": 0},
                "unk_token": "a",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 10**9,
            },
            "max_input_chars_per_word is 1,000,000,000",
        ),
    ],
)
def test_a_model_that_takes_the_square_of_a_text(tmp_path, model, what):
    with pytest.raises(WorkError, match=what):
        load_tokenizer(write(tmp_path, model=model))


def test_a_panic_is_an_error_without_the_librarys_own_words(capfd):
    """Rust writes about a panic to the process's stderr itself."""
    step = normalizers.Replace(Regex("(a+)+$"), "")
    with pytest.raises(WorkError, match="retry-limit") as error, panics_are_errors("here"):
        step.normalize_str("a" * 100 + "b")
    assert error.value.where == "here"
    with panics_are_errors("here"):
        os.write(2, b"what others say stays")
    assert capfd.readouterr().err == "what others say stays"


def test_what_models_in_use_have_is_taken(tmp_path):
    backend = Tokenizer(models.BPE({"▁": 0, "a": 1}, []))
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(), pre_tokenizers.Punctuation()]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    backend.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).vocab_size == 2


def test_twenty_replacements_of_different_letters_are_no_growth(tmp_path):
    steps = [replace(letter, f"<{letter.upper()}>") for letter in "bcdefghijkl"]
    load_tokenizer(write(tmp_path, normalizer=chain(*steps)))
