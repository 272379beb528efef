"""Joint processors beside transformers', read from and written to folders."""

from __future__ import annotations

import json

import pytest
import torch
import transformers

from tests.processors.audio.clips import RATE, noise, sine, sound_file
from tests.processors.audio.test_ctc_tokenizer import VOCAB
from tests.processors.audio.test_whisper_tokenizer import write_files
from tfcli.errors import UsageError, WorkError
from tfcli.processors.audio.speech import Wav2Vec2Processor, WhisperProcessor

NAMES = {"Whisper": WhisperProcessor, "Wav2Vec2": Wav2Vec2Processor}
TEXTS = ["HELLO", "HE LO WORLD"]
AUDIO = [noise(4_000), noise(3_000, seed=1)]


@pytest.fixture(scope="module", params=NAMES)
def folders(request, tmp_path_factory):
    """A model's name, a folder as transformers writes it, and one as older versions did."""
    at = tmp_path_factory.mktemp(request.param)
    old = at / "old"
    if request.param == "Whisper":
        write_files(old)
        settings = {"chunk_length": 1, "feature_size": 128}
    else:
        old.mkdir()
        (old / "vocab.json").write_text(json.dumps(VOCAB))
        (old / "tokenizer_config.json").write_text('{"tokenizer_class": "Wav2Vec2CTCTokenizer"}')
        settings = {"return_attention_mask": True}
    extractor = getattr(transformers, f"{request.param}FeatureExtractor")(**settings)
    extractor.save_pretrained(old)
    theirs = getattr(transformers, f"{request.param}Processor").from_pretrained(old)
    theirs.save_pretrained(at / "new")
    return request.param, at / "new", old, theirs


def assert_same(own, theirs, **audio) -> None:
    found = own(AUDIO, TEXTS, RATE, **audio)
    # transformers gives text the options of audio, so it is asked twice.
    wanted = theirs(audio=AUDIO, sampling_rate=RATE, return_tensors="pt", **audio)
    texts = theirs.tokenizer(TEXTS, padding=True, return_tensors="pt")
    assert found.keys() == {*wanted.keys(), "labels"}
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], atol=1e-4, rtol=0)
    filled = texts["input_ids"].masked_fill(texts["attention_mask"] == 0, -100)
    assert torch.equal(found["labels"], filled)
    alone = own(text=TEXTS)
    assert torch.equal(alone["input_ids"], texts["input_ids"])
    assert torch.equal(alone["attention_mask"], texts["attention_mask"])
    rows = [[row for row in label if row >= 0] for label in found["labels"].tolist()]
    options = {"group_tokens": False} if "Wav2Vec2" in type(own).__name__ else {
        "skip_special_tokens": True
    }  # fmt: skip
    assert own.batch_decode(rows, **options) == theirs.batch_decode(rows, **options) == TEXTS
    assert own.decode(rows[0], **options) == TEXTS[0]


def test_a_folder_of_transformers_is_read(folders) -> None:
    name, new, old, theirs = folders
    options = {} if name == "Whisper" else {"padding": True}
    for folder in (new, old):
        assert_same(NAMES[name].from_pretrained(folder), theirs, **options)
    assert not (new / "preprocessor_config.json").exists()  # it is in processor_config.json


def test_transformers_reads_what_is_written(folders, tmp_path) -> None:
    name, new, _, theirs = folders
    own = NAMES[name].from_pretrained(new)
    own.save_pretrained(tmp_path)
    again = getattr(transformers, f"{name}Processor").from_pretrained(tmp_path)
    assert again.feature_extractor.to_dict() == theirs.feature_extractor.to_dict()
    for file in ("preprocessor_config.json", "tokenizer_config.json"):
        assert json.loads((tmp_path / file).read_text())["processor_class"] == f"{name}Processor"
    automatic = transformers.AutoProcessor.from_pretrained(tmp_path)
    assert type(automatic) is type(theirs)
    options = {} if name == "Whisper" else {"padding": True}
    assert_same(NAMES[name].from_pretrained(tmp_path), again, **options)


def test_audio_alone_and_one_text_for_one_piece(folders) -> None:
    name, new, *_ = folders
    own = NAMES[name].from_pretrained(new)
    file = sound_file(sine(), subtype="FLOAT")
    both, alone = own(file, "HELLO"), own(file)
    assert both.keys() - alone.keys() == {"labels"}
    assert tuple(both) == own.model_input_names
    assert both["labels"].shape[0] == 1 and (both["labels"] >= 0).all()


def test_what_does_not_belong_together(folders) -> None:
    name, new, *_ = folders
    own = NAMES[name].from_pretrained(new)
    for arguments, message in (
        ({}, "neither audio nor text"),
        ({"audio": AUDIO[:1], "text": TEXTS, "sampling_rate": RATE}, "2 texts for 1 pieces"),
        ({"text": []}, "no text was given"),
    ):
        with pytest.raises(UsageError, match=message):
            own(**arguments)
    other = next(kind for key, kind in NAMES.items() if key != name)
    with pytest.raises(WorkError, match="feature_extractor_type is"):
        other.from_pretrained(new)


@pytest.mark.parametrize("folders", ["Whisper"], indirect=True)
def test_whispers_prompts_are_the_tokenizers(folders) -> None:
    _, new, _, theirs = folders
    own = WhisperProcessor.from_pretrained(new, language="fr", task="translate")
    assert own.get_prompt_ids("the") == theirs.get_prompt_ids("the").tolist()
    assert own.get_decoder_prompt_ids() == own.tokenizer.get_decoder_prompt_ids()
    assert len(own.get_decoder_prompt_ids()) == 3
