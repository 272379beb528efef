"""`tfcli generate --audio` from the command line."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import transformers

from tests.models.tiny import tiny_model
from tests.processors.audio.clips import noise, sound_file
from tests.processors.audio.test_ctc_tokenizer import VOCAB
from tests.processors.audio.test_whisper_tokenizer import SPECIALS, write_files
from tfcli.checkpoints.folder import save_model
from tfcli.commands.app import run
from tfcli.processors.audio.whisper_tokenizer import WhisperTokenizer

WINDOW = 16_000  # samples: a second, where Whisper itself has 30


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for name, samples in (("short", 12_000), ("long", 3 * WINDOW + 500)):
        (folder / f"{name}.wav").write_bytes(sound_file(noise(samples), subtype="FLOAT"))
    return folder


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """A tiny Whisper with windows of a second, and all the files that go with it."""
    folder = tmp_path_factory.mktemp("whisper")
    write_files(folder)
    extractor = {"chunk_length": 1, "feature_size": 6}
    transformers.WhisperFeatureExtractor(**extractor).save_pretrained(folder)
    tokenizer = WhisperTokenizer.from_pretrained(folder)
    first = tokenizer.timestamp_begin
    ids = dict.fromkeys(("eos_token_id", "bos_token_id", "pad_token_id"), tokenizer.eos_id)
    ids["decoder_start_token_id"] = tokenizer.token_id(SPECIALS[0])
    said = {
        "lang_to_id": {f"<|{code}|>": index for code, index in tokenizer.language_ids.items()},
        "task_to_id": {
            name: tokenizer.token_id(f"<|{name}|>") for name in ("translate", "transcribe")
        },
        "no_timestamps_token_id": first - 1,
        "is_multilingual": True,
        "suppress_tokens": list(range(tokenizer.eos_id + 1, first)),
        **ids,
    }
    sizes = {"vocab_size": first + 51, "max_source_positions": 50, "init_std": 0.4}
    model = tiny_model("whisper", **sizes, **ids)
    save_model(model, folder, tokenizer_from=folder)
    (folder / "generation_config.json").write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wav2vec2")
    (folder / "vocab.json").write_text(json.dumps(VOCAB))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "Wav2Vec2CTCTokenizer"}')
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    model = tiny_model("wav2vec2", vocab_size=len(VOCAB), conv_stride=[16, 10, 2])
    save_model(model, folder, tokenizer_from=folder)
    return folder


@pytest.fixture
def generate(capsys):
    def call(folder, *flags, code=0):
        capsys.readouterr()
        assert run(["generate", str(folder), "--json", *map(str, flags)]) == code
        return json.loads(capsys.readouterr().out)

    return call


def theirs_of(folder, recording, long=False, **options):
    """What transformers writes down: ids and text."""
    import soundfile

    processor = transformers.WhisperProcessor.from_pretrained(folder)
    samples, rate = soundfile.read(recording, dtype="float32")
    how = {"truncation": False, "padding": "longest"} if long else {}
    features = processor.feature_extractor(
        samples, sampling_rate=rate, return_tensors="pt", **how
    ).input_features
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder)
    ids = model.generate(features, max_new_tokens=18, do_sample=False, **options)[0].tolist()
    return ids, processor.tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("options", [{"language": "german"}, {}], ids=["german", "detected"])
def test_a_short_recording(generate, whisper, recordings, options):
    path = recordings / "short.wav"
    flags = [f"--{key}={value}" for key, value in options.items()]
    found = generate(whisper, "--audio", path, "--max-new-tokens", 18, *flags)
    ids, text = theirs_of(whisper, path, **options)
    assert (found["token_ids"], found["text"]) == (ids, text)
    assert found["task"] == "speech-seq2seq" and found["segments"] is None
    assert found["language"] == "de" if options else found["language"]
    assert found["prompt"] is None and found["audio"] == str(path)


@pytest.mark.parametrize("cache", ["static", "quantized8", "offloaded"])
def test_every_cache_serves(generate, whisper, recordings, cache):
    flags = ("--audio", recordings / "short.wav", "--max-new-tokens", 12, "--language", "de")
    found = generate(whisper, *flags, "--cache", cache)
    assert found["token_ids"] == generate(whisper, *flags)["token_ids"]
    assert found["cache"] == cache and len(found["token_ids"]) > 3


def test_a_long_recording_has_segments(generate, whisper, recordings):
    path = recordings / "long.wav"
    found = generate(whisper, "--audio", path, "--max-new-tokens", 18, "--language", "fr")
    ids, _ = theirs_of(whisper, path, long=True, language="fr")
    assert found["token_ids"] == ids
    segments = found["segments"]
    assert len(segments) > 2 and segments[-1]["end"] > 2
    assert "".join(each["text"] for each in segments) == found["text"]
    translated = generate(
        whisper, "--audio", path, "--max-new-tokens", 18, "--speech-task", "translate"
    )
    assert translated["prompt_ids"] != found["prompt_ids"]


def test_times_are_printed_before_what_is_said(whisper, recordings, capsys):
    command = ["generate", str(whisper), "--audio", str(recordings / "long.wav")]
    assert run([*command, "--timestamps", "--language", "en"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 2 and lines[0].startswith("[0.") and " - " in lines[0]


def test_letters_are_those_of_transformers(generate, wav2vec2, recordings):
    import soundfile

    path = recordings / "short.wav"
    found = generate(wav2vec2, "--audio", path, "--timestamps")
    processor = transformers.Wav2Vec2Processor.from_pretrained(wav2vec2)
    samples, rate = soundfile.read(path, dtype="float32")
    inputs = processor(samples, sampling_rate=rate, return_tensors="pt")
    model = transformers.Wav2Vec2ForCTC.from_pretrained(wav2vec2).eval()
    with torch.no_grad():
        ids = model(inputs.input_values).logits[0].argmax(-1)
    expected = processor.tokenizer.decode(ids, output_word_offsets=True)
    assert found["token_ids"] == ids.tolist()
    assert (found["text"], found["task"]) == (expected.text, "ctc")
    step = model.config.inputs_to_logits_ratio / rate
    times = [(word["word"], word["start_offset"] * step) for word in expected.word_offsets]
    assert [(each["text"], each["start"]) for each in found["segments"]] == times


def test_without_a_limit_a_window_has_all_positions(generate, whisper, recordings):
    found = generate(whisper, "--audio", recordings / "short.wav", "--language", "de")
    config = json.loads((whisper / "config.json").read_text())
    written = len(found["prompt_ids"]) + len(found["token_ids"])
    assert found["finish_reason"] == "stop" or written == config["max_target_positions"]


def test_what_cannot_be_is_said_before_weights_are_read(
    generate, whisper, wav2vec2, recordings, tiny_llama, monkeypatch
):
    monkeypatch.setattr("tfcli.generation.speech_run.load_ready", None)
    monkeypatch.setattr("tfcli.generation.run.load_ready", None)
    audio = ("--audio", recordings / "short.wav")
    for folder, flags, words in (
        (tiny_llama, audio, "llama cannot hear"),
        (whisper, ["A prompt"], "whisper writes down recordings, and reads no text"),
        (wav2vec2, ["A prompt"], "wav2vec2 writes down recordings"),
        (whisper, [*audio, "--language", "klingon"], "no language 'klingon'"),
        (wav2vec2, [*audio, "--language", "de"], "has no effect"),
        (wav2vec2, [*audio, "--max-new-tokens", "3"], "has no effect"),
        (whisper, [*audio, "A prompt"], "whisper writes down recordings, and reads no text"),
        (whisper, ["A prompt", "--timestamps"], "audio"),
    ):
        error = generate(folder, *flags, code=2)["error"]
        assert words in error["what"] + (error["where"] or ""), error


def test_an_extractor_of_other_sizes_is_refused(generate, whisper, recordings, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(whisper, folder)
    transformers.WhisperFeatureExtractor(chunk_length=1).save_pretrained(folder)
    error = generate(folder, "--audio", recordings / "short.wav", code=1)["error"]
    assert "has 80 mel filters, but the model takes 6" in error["what"]
