"""Whisper's tokenizer beside transformers', on a vocabulary of a few hundred tokens."""

from __future__ import annotations

import json
import random

import pytest
import torch
from transformers import WhisperTokenizer as Oracle
from transformers.models.whisper import tokenization_whisper

from tests.tokenizers.folders import byte_level
from tfcli.errors import UsageError, WorkError
from tfcli.processors.audio.whisper_languages import LANGUAGES, OTHER_NAMES, language_code
from tfcli.processors.audio.whisper_tokenizer import WhisperTokenizer

SPECIALS = [
    "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES), "<|translate|>",
    "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
]  # fmt: skip
TIMES = [f"<|{place * 0.02:.2f}|>" for place in range(1501)]


def write_files(folder, times: bool = False, **config):
    """A folder as released ones are: the vocabulary, then special tokens, then times."""
    folder.mkdir(exist_ok=True)
    vocab, merges = byte_level("<|endoftext|>")
    # <|endoftext|> is the first special token and not the first of all.
    vocab = {token: index - 1 for token, index in vocab.items() if index}
    vocab["<|endoftext|>"] = len(vocab)
    added = {
        str(len(vocab) + place): {"content": token, "special": place < len(SPECIALS)}
        for place, token in enumerate([*SPECIALS, *(TIMES if times else [])])
    }
    for one in added.values():
        one |= {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    config = {
        "tokenizer_class": "WhisperTokenizer",
        "added_tokens_decoder": added,
        "additional_special_tokens": SPECIALS,
        **dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>"),
        **config,
    }
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=[False, True], ids=["unnamed times", "named times"])
def pair(request, tmp_path_factory):
    """Our tokenizer and theirs, without and with timestamps in the vocabulary."""
    folder = write_files(tmp_path_factory.mktemp("whisper"), request.param)
    return WhisperTokenizer.from_pretrained(folder), Oracle.from_pretrained(folder)


def test_languages_are_those_of_transformers_in_their_order() -> None:
    assert list(LANGUAGES.items()) == list(tokenization_whisper.LANGUAGES.items())
    theirs = tokenization_whisper.TO_LANGUAGE_CODE
    assert {name: language_code(name) for name in theirs} == theirs
    assert OTHER_NAMES.keys() < theirs.keys()
    assert language_code("French") == language_code("<|fr|>") == "fr"
    with pytest.raises(UsageError, match="no language 'germann'") as error:
        language_code("germann")
    assert "did you mean 'german'" in error.value.fix


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("task", [None, "transcribe", "translate"])
@pytest.mark.parametrize("language", [None, "en", "Cantonese"])
def test_labels_have_the_ids_of_transformers(pair, language, task, timestamps) -> None:
    own, theirs = pair
    prefix = {"language": language, "task": task, "predict_timestamps": timestamps}
    own = own.with_prefix(**prefix)
    theirs.language = theirs.task = None
    theirs.set_prefix_tokens(**prefix)
    for text in ("the cat sat", " héllo wörld", "", "a<|endoftext|>b"):
        assert own.encode(text) == theirs(text).input_ids
        assert (
            own.encode(text, add_special_tokens=False)
            == theirs(text, add_special_tokens=False).input_ids
        )
    assert own.prefix_ids == theirs.prefix_tokens


def test_ids_that_generation_begins_with(pair) -> None:
    own, theirs = pair
    theirs.language = theirs.task = None
    for options in ({}, {"task": "translate", "language": "german"}, {"no_timestamps": False}):
        wanted = theirs.get_decoder_prompt_ids(**options)
        theirs.language = theirs.task = None
        assert own.get_decoder_prompt_ids(**options) == wanted
    assert own.language is None


def test_prompts(pair) -> None:
    own, theirs = pair
    for text in ("the cat", "  sat ", ""):
        assert own.get_prompt_ids(text) == theirs.get_prompt_ids(text).tolist()
    with pytest.raises(UsageError, match=r"special token <\|startoftranscript\|>"):
        own.get_prompt_ids("a <|startoftranscript|> b")


def at(own, seconds: float) -> int:
    return own.timestamp_begin + round(seconds / 0.02)


def recordings(own) -> dict[str, list[int]]:
    """Ids as they are generated."""
    the, cat, sat = (own.encode(text, add_special_tokens=False) for text in ("the", " cat", " sat"))
    head, end = own.prefix_ids[:1], [own.eos_id]
    first = [at(own, 0), *the, *cat, at(own, 2.4), at(own, 2.4), *sat, at(own, 5)]
    return {
        "none": [*own.prefix_ids, *the, *cat, *end],
        "empty": [],
        "one": [*head, at(own, 0), *the, *end],
        "two": [*head, at(own, 0), *the, at(own, 1.08), *end],
        "parts": [*head, *first, *end],
        "windows": [*head, *first, at(own, 0.5), *the, at(own, 3), *end],
        "a window cut in two": [*head, *first, at(own, 5), at(own, 0.2), *cat, at(own, 1), *end],
        "three windows": [*first, at(own, 1), *the, at(own, 29), at(own, 0), *sat, at(own, 0.4)],
        "a start that nothing follows": [*head, *first, at(own, 5), *the],
        "only times": [at(own, 0), at(own, 1), at(own, 1), at(own, 0.5)],
        "prompt": [*own.get_prompt_ids("the mat"), *head, *first, *end],
        "prompt alone": own.get_prompt_ids("the mat"),
        "half a letter": [*own.prefix_ids, *own.encode("é", add_special_tokens=False)[:1]],
    }


RECORDINGS = (
    "none", "empty", "one", "two", "parts", "windows", "a window cut in two", "three windows",
    "a start that nothing follows", "only times", "prompt", "prompt alone", "half a letter",
)  # fmt: skip


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("times", [False, True])
@pytest.mark.parametrize("name", RECORDINGS)
def test_what_is_generated_is_the_text_of_transformers(pair, name, times, skip) -> None:
    own, theirs = pair
    ids = recordings(own)[name]
    options = {"skip_special_tokens": skip, "decode_with_timestamps": times}
    assert own.decode(ids, **options) == theirs.decode(ids, **options)


@pytest.mark.parametrize("precision", [0.02, 0.04])
@pytest.mark.parametrize("name", [name for name in RECORDINGS if name != "empty"])
def test_offsets_are_those_of_transformers(pair, name, precision) -> None:
    own, theirs = pair
    ids = recordings(own)[name]
    options = {"output_offsets": True, "time_precision": precision, "skip_special_tokens": True}
    assert own.decode(ids, **options) == theirs.decode(ids, **options)


def test_drawn_ids(pair) -> None:
    own, theirs = pair
    draw = random.Random(5)
    choices = [*range(300, 320), *[own.timestamp_begin + step for step in (0, 50, 51, 400, 1500)]]
    for _ in range(200):
        ids = [draw.choice(choices) for _ in range(draw.randrange(2, 14))]
        for options in ({"decode_with_timestamps": True}, {"output_offsets": True}, {}):
            assert own.decode(ids, **options) == theirs.decode(ids, **options), ids


def test_times_go_on_from_window_to_window(pair) -> None:
    own, _ = pair
    ids = recordings(own)["windows"]
    text = own.decode(ids, decode_with_timestamps=True, skip_special_tokens=True)
    assert text == "<|0.00|>the cat<|2.40|><|2.40|> sat<|5.00|><|30.50|>the<|33.00|>"
    offsets = own.decode(recordings(own)["parts"], output_offsets=True)["offsets"]
    assert [one["text"] for one in offsets] == ["the cat", " sat"]
    assert offsets[1]["timestamp"] == pytest.approx((2.4, 5.0))


def test_batches(pair) -> None:
    own, theirs = pair
    rows = torch.tensor([recordings(own)["two"], recordings(own)["one"] + [own.eos_id] * 1])
    wanted = theirs.batch_decode(rows, skip_special_tokens=True)
    assert own.batch_decode(rows, skip_special_tokens=True) == wanted


@pytest.mark.parametrize("times", [False, True])
def test_what_is_written_is_read_alike_by_both(tmp_path, times: bool) -> None:
    config = {"language": "de", "task": "transcribe", "predict_timestamps": True}
    own = WhisperTokenizer.from_pretrained(write_files(tmp_path / "given", times, **config))
    own.save_pretrained(tmp_path / "ours")
    again, theirs = (one.from_pretrained(tmp_path / "ours") for one in (WhisperTokenizer, Oracle))
    assert (again.language, again.task, again.predict_timestamps) == ("de", "transcribe", True)
    assert again.encode("the cat") == own.encode("the cat") == theirs("the cat").input_ids
    ids = recordings(own)["windows"]
    for options in ({}, {"decode_with_timestamps": True}, {"skip_special_tokens": True}):
        assert again.decode(ids, **options) == own.decode(ids, **options)
        assert theirs.decode(ids, **options) == own.decode(ids, **options)


def test_the_folder_of_transformers_is_read(pair, tmp_path) -> None:
    own, theirs = pair
    theirs.save_pretrained(tmp_path)
    prefix = {"language": "en", "task": "translate", "predict_timestamps": False}
    again = WhisperTokenizer.from_pretrained(tmp_path, **prefix)
    assert again.encode("the cat") == own.with_prefix(**prefix).encode("the cat")


def test_what_a_folder_lacks_is_named(tmp_path) -> None:
    folder = write_files(tmp_path / "given")
    own = WhisperTokenizer.from_pretrained(folder)
    with pytest.raises(UsageError, match="no task 'sing'"):
        own.with_prefix(task="sing")
    with pytest.raises(UsageError, match="no language 'klingon'"):
        WhisperTokenizer.from_pretrained(folder, language="klingon")
    with pytest.raises(WorkError, match="language must be a text"):
        WhisperTokenizer.from_pretrained(write_files(tmp_path / "wrong", language=3))
    vocab, merges = byte_level("<|endoftext|>")
    for name, content in (("vocab.json", json.dumps(vocab)), ("merges.txt", merges)):
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    with pytest.raises(WorkError, match=r"the vocabulary has no <\|startoftranscript\|>"):
        WhisperTokenizer.from_pretrained(tmp_path)


def test_a_vocabulary_for_english_alone_takes_no_language(tmp_path) -> None:
    vocab, merges = byte_level("<|endoftext|>")
    added = {
        str(len(vocab) + place): {"content": token, "special": True}
        for place, token in enumerate(["<|startoftranscript|>", "<|notimestamps|>"])
    }
    config = {"tokenizer_class": "WhisperTokenizer", "added_tokens_decoder": added}
    for name, content in (
        ("vocab.json", json.dumps(vocab)),
        ("merges.txt", merges),
        ("tokenizer_config.json", json.dumps(config)),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
    own = WhisperTokenizer.from_pretrained(tmp_path)
    with pytest.raises(UsageError, match="no token for french"):
        own.with_prefix(language="fr")
