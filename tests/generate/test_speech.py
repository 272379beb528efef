"""Transcripts of Whisper, token for token and time for time those of transformers."""

from __future__ import annotations

import pytest
import torch
import transformers

from tests.models.media_cases.whisper import FRAMES, MELS, SETTINGS
from tests.models.parity import twin
from tfcli.generate.sampling import greedy
from tfcli.generate.settings import read_settings
from tfcli.generate.speech import language_heard, transcribe
from tfcli.generate.speech_settings import read_speech_settings

EOS, START, NO_TIMES = 40, 41, 49
ZERO = NO_TIMES + 1
IDS = {
    "vocab_size": ZERO + FRAMES // 2 + 1,
    "eos_token_id": EOS,
    "bos_token_id": EOS,
    "pad_token_id": EOS,
    "decoder_start_token_id": START,
    "max_target_positions": 40,
    "init_std": 0.4,
}
SAID = {
    "lang_to_id": {"<|en|>": 42, "<|de|>": 43, "<|fr|>": 44},
    "task_to_id": {"translate": 45, "transcribe": 46},
    "no_timestamps_token_id": NO_TIMES,
    "is_multilingual": True,
    "eos_token_id": EOS,
    "pad_token_id": EOS,
    "bos_token_id": EOS,
    "decoder_start_token_id": START,
    "suppress_tokens": [3, 5, START, 47],
    "begin_suppress_tokens": [7, EOS],
    "max_initial_timestamp_index": 4,
}


def pair(seed=0, **said):
    """The transformers model with a generation_config, and ours."""
    torch.manual_seed(seed)
    config = transformers.WhisperConfig(**SETTINGS | IDS, begin_suppress_tokens=None)
    theirs = transformers.WhisperForConditionalGeneration(config).eval()
    theirs.generation_config = transformers.GenerationConfig(**SAID | said)
    return theirs, twin(theirs, "speech-seq2seq")


def sound(frames=FRAMES, seed=1):
    return torch.randn(1, MELS, frames, generator=torch.Generator().manual_seed(seed))


def their_transcript(theirs, features, new=20, **options):
    found = theirs.generate(
        features, max_new_tokens=new, do_sample=False, return_segments=True, **options
    )
    segments = [
        (float(each["start"]), float(each["end"]), each["tokens"].tolist())
        for each in found["segments"][0]
    ]
    return found["sequences"][0].tolist(), segments


def our_windows(ours, theirs, features, new=20, language=None, task=None, timestamps=False):
    said = theirs.generation_config.to_diff_dict()
    speech = read_speech_settings(said, ours.config)
    language, task = speech.chosen(language, task, timestamps=timestamps)
    begin = speech.begin_ids(
        language,
        task,
        timestamps=timestamps,
        detect=lambda: language_heard(ours, features, START, list(speech.languages.values())),
    )
    said.pop("forced_decoder_ids", None)
    settings = read_settings(said, ours.config)
    options = {"speech": speech, "settings": settings, "timestamps": timestamps}
    return begin, list(
        transcribe(
            ours,
            features,
            begin,
            max_new_tokens=new,
            choose=greedy,
            make_cache=ours.make_cache,
            **options,
        )
    )


def our_transcript(ours, theirs, features, **options):
    _, windows = our_windows(ours, theirs, features, **options)
    segments = [each for window in windows for each in window.segments]
    ids = [token for segment in segments for token in segment.ids]
    return ids, [(each.start, each.end, each.ids) for each in segments]


@pytest.mark.parametrize("seed", [0, 1, 3])
@pytest.mark.parametrize("timestamps", [False, True], ids=["words", "times"])
@pytest.mark.parametrize("language", ["de", None], ids=["german", "detected"])
def test_a_window_is_written_as_transformers_writes_it(language, timestamps, seed):
    # Without times, a random model may write 0.00 twice, and transformers begins the window again.
    times = [] if timestamps else list(range(ZERO, IDS["vocab_size"]))
    theirs, ours = pair(seed, suppress_tokens=[*SAID["suppress_tokens"], *times])
    features = sound(seed=seed)
    expected = their_transcript(theirs, features, language=language, return_timestamps=timestamps)
    found = our_transcript(ours, theirs, features, language=language, timestamps=timestamps)
    assert found == expected
    assert len(set(found[0])) > 3


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_long_recording_is_written_window_by_window(seed):
    theirs, ours = pair(seed)
    features = sound(3 * FRAMES + 7, seed)
    expected = their_transcript(theirs, features, language="fr", return_timestamps=True)
    found = our_transcript(ours, theirs, features, language="fr", timestamps=True)
    assert found == expected
    assert len(found[1]) >= 4
