"""Transcripts of Whisper, token for token and time for time those of transformers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import transformers

from tests.models.media_cases.whisper import FRAMES, MELS, SETTINGS
from tests.models.parity import twin
from tfcli.errors import UsageError, WorkError
from tfcli.generation.sampling import greedy
from tfcli.generation.settings import read_settings
from tfcli.generation.speech import cut, language_heard, silent, timed, transcribe
from tfcli.generation.speech_settings import SpeechSettings, read_speech_settings

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
            pick=greedy,
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


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ({"forced_decoder_ids": [[1, None], [2, 45]]}, {}),
        ({"forced_decoder_ids": [[1, 43], [2, 46], [3, NO_TIMES]]}, {}),
        ({"forced_decoder_ids": [[1, 43], [2, 46], [3, NO_TIMES]]}, {"timestamps": True}),
        ({"language": "fr", "task": "translate"}, {}),
        ({"language": "fr"}, {"language": "<|de|>", "task": "translate"}),
        ({"task": "transcribe"}, {"timestamps": True}),
        ({"is_multilingual": False, "lang_to_id": None, "task_to_id": None}, {}),
    ],
    ids=str,
)
def test_texts_begin_as_they_do_in_transformers(said, asked):
    theirs, ours = pair(1)
    for key, value in said.items():
        if value is None:
            delattr(theirs.generation_config, key)
        else:
            setattr(theirs.generation_config, key, value)
    seen = []
    theirs.register_forward_pre_hook(
        lambda _, args, more: seen.append(more["decoder_input_ids"][0].tolist()), with_kwargs=True
    )
    features = sound()
    begin, _ = our_windows(ours, theirs, features, **asked, new=3)
    options = {"return_timestamps": asked.pop("timestamps", False), **asked}
    theirs.generate(features, max_new_tokens=3, do_sample=False, **options)
    heard = [ids for ids in seen if len(ids) == len(begin) and ids != [START]]
    assert heard[0] == begin


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_silence_is_passed_over(threshold):
    theirs, ours = pair(4)
    features = sound(2 * FRAMES)
    thresholds = {"no_speech_threshold": threshold, "logprob_threshold": 0.0}
    # A temperature and no fallback to others, as we have.
    options = {"language": "de", "return_timestamps": True, "temperature": 0.0, **thresholds}
    found = theirs.generate(features, max_new_tokens=20, do_sample=False, **options)
    expected = (found["sequences"] if isinstance(found, dict) else found)[0].tolist()
    for key, value in thresholds.items():
        setattr(theirs.generation_config, key, value)
    ids, _ = our_transcript(ours, theirs, features, language="de", timestamps=True)
    assert ids == expected
    assert bool(ids) is (threshold == 1.0)


@torch.no_grad()
def test_the_probability_of_silence_is_that_after_the_first_token():
    theirs, ours = pair(2)
    features = sound()
    _, windows = our_windows(ours, theirs, features, language="de")
    logits = theirs(features, decoder_input_ids=torch.tensor([[START]])).logits[0, 0]
    likely = logits.softmax(-1)[NO_TIMES - 1].item()
    assert windows[0].no_speech == pytest.approx(likely, rel=1e-4)
    assert windows[0].tokens == 20 and not windows[0].ended
    assert silent(SpeechSettings(0, no_speech_threshold=0.3, logprob_threshold=-1.0), 0.4, -1.1)
    assert not silent(SpeechSettings(0, no_speech_threshold=0.3, logprob_threshold=-1.0), 0.4, -0.9)
    assert not silent(SpeechSettings(0, no_speech_threshold=0.3), 0.4, -9.0)


@pytest.mark.parametrize(
    ("ids", "expected", "moved"),
    [
        ([50, 1, 55, 55, 2, 60, 60, 3], [(0, 0.1, 3), (0.1, 0.2, 4)], 20),
        ([50, 1, 55, 55, 2, 60], [(0, 0.1, 3), (0.1, 0.2, 3)], 24),
        ([50, 1, 55], [(0, 0.1, 3)], 24),
        ([1, 2], [(0, 0.24, 2)], 24),
        ([], [(0, 0.24, 0)], 24),
    ],
)
def test_a_window_is_cut_at_pairs_of_times(ids, expected, moved):
    segments, frames = cut(ids, 50, 24, offset=3.0)
    found = [(each.start - 3, each.end - 3, len(each.ids)) for each in segments]
    assert found == [pytest.approx(each) for each in expected]
    assert frames == moved


def test_times_follow_rules():
    process = timed(NO_TIMES, EOS, start=2, max_initial=3)

    def allowed(*new):
        logits = process([START, 42, *new], torch.zeros(ZERO + 10))
        return {token for token in range(len(logits)) if logits[token] > -torch.inf}

    assert allowed() == {ZERO, ZERO + 1, ZERO + 2, ZERO + 3}
    assert allowed(ZERO + 2) == set(range(NO_TIMES))
    # All times together are likelier than a word, so that one of them comes.
    assert allowed(ZERO + 2, 7) == set(range(ZERO + 3, ZERO + 10))
    assert allowed(ZERO + 2, 7, ZERO + 4) == set(range(ZERO + 4, ZERO + 10))
    late = allowed(ZERO + 2, 7, ZERO + 9, ZERO + 9, 8)
    assert late == set(range(NO_TIMES))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"lang_to_id": {"<|en|>": 4_000}}, "lang_to_id: must be an object of token ids"),
        ({"no_timestamps_token_id": -1}, "no_timestamps_token_id: must be a token id"),
        ({"forced_decoder_ids": [[2, 4]]}, "forced_decoder_ids: must be pairs of a place"),
        ({"language": 3}, "language: must be a text"),
        ({"no_speech_threshold": "much"}, "no_speech_threshold: must be a number"),
    ],
)
def test_damaged_settings_are_named(said, message):
    _, ours = pair()
    with pytest.raises(WorkError, match=message):
        read_speech_settings({**SAID, **said}, ours.config)


def test_what_a_checkpoint_has_no_token_for_is_refused():
    _, ours = pair()
    speech = read_speech_settings({**SAID, "condition_on_prev_tokens": True}, ours.config)
    assert speech.ignored == ("condition_on_prev_tokens True",)
    with pytest.raises(UsageError, match="no token for ja"):
        speech.chosen("japanese", None, timestamps=False)
    with pytest.raises(UsageError, match="Whisper knows no language"):
        speech.chosen("klingon", None, timestamps=False)
    with pytest.raises(UsageError, match="English and nothing else"):
        replace(speech, english_only=True).chosen("de", None, timestamps=False)
    with pytest.raises(UsageError, match="writes no timestamps"):
        replace(speech, no_timestamps=None).chosen(None, None, timestamps=True)
