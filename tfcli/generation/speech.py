"""Whisper's way through a recording: a window, what is said in it, and where the next one begins.

What is written in a window ends mostly before the window does, in the middle of what is being
said; the next one begins at the last time that was written (Radford et al. 2022, section 3.8). The
reference is transformers' `generation_whisper.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from tfcli.generation.loop import Decoding
from tfcli.generation.processors import NEVER, Process
from tfcli.generation.readers import TargetReader
from tfcli.generation.rows import lengths, rows_of
from tfcli.generation.rules import processes
from tfcli.generation.sampling import Pick
from tfcli.generation.settings import TextSettings
from tfcli.generation.speech_settings import SpeechSettings
from tfcli.models.cache import Cache
from tfcli.models.configs.whisper import WhisperConfig
from tfcli.models.heads.seq2seq_lm import Seq2SeqLM
from tfcli.processors.audio.whisper_timestamps import PRECISION
from tfcli.processors.audio.windows import feature_window

FRAMES = 2  # frames of features to a step of a time


@dataclass(frozen=True)
class Segment:
    """A part of a recording, and what is said in it.

    Args:
        start, end: in seconds of the recording.
        ids: tokens, times among them.
    """

    start: float
    end: float
    ids: list[int]


@dataclass(frozen=True)
class Window:
    """What was made of one window.

    Args:
        segments: of it; none where it was passed over as silence.
        no_speech: how probable it is that nothing is said in it; None where the checkpoint does
            not say which token that is.
        log_probability: the mean of its tokens'.
        tokens: how many there were, with the one that ended them.
        ended: the model ended the text; else there was no room for more.
    """

    segments: list[Segment]
    no_speech: float | None
    log_probability: float
    tokens: int
    ended: bool


@torch.inference_mode()
def language_heard(
    model: Seq2SeqLM, features: torch.Tensor, start: int, languages: Sequence[int]
) -> int:
    """The likeliest of some tokens after the first one, heard in the first window.

    Args:
        model: in eval mode.
        features (Tensor): [1, mels, frames]
        start: the first token.
        languages: ids to choose from.
    """
    states = model.encode(input_features=_window(model, features, 0))
    logits = _first_logits(model, states, start)
    ids = sorted(languages)
    return ids[int(logits[ids].argmax())]


@torch.inference_mode()
def transcribe(
    model: Seq2SeqLM,
    features: torch.Tensor,
    begin: Sequence[int],
    *,
    speech: SpeechSettings,
    settings: TextSettings,
    timestamps: bool,
    max_new_tokens: int,
    pick: Pick,
    make_cache: Callable[[], Cache],
) -> Iterator[Window]:
    """Yield what is said in one window after the other.

    Args:
        model: in eval mode.
        features (Tensor): [1, mels, frames], of the whole recording.
        begin: what the decoder sees before the first token of each window.
        speech, settings: of the checkpoint.
        timestamps: whether times are written.
        max_new_tokens: of a window.
        pick: from logits [1, vocab] to a token.
        make_cache: an empty cache.
    """
    config = model.config
    assert isinstance(config, WhisperConfig)
    stop = sorted(settings.stop)
    rows = rows_of([begin], model.device)
    rules = processes(
        settings.rules,
        source=rows[:, :0],
        start=lengths(rows),
        max_new_tokens=torch.tensor([max_new_tokens], device=model.device),
        stop=stop,
    )
    if timestamps:
        assert speech.no_timestamps is not None
        eos = min(stop, default=speech.no_timestamps)
        rules.append(timed(speech.no_timestamps, eos, len(begin), speech.max_initial_timestamp))
    first_time = config.vocab_size if speech.first_time is None else speech.first_time
    seek, total = 0, features.shape[-1]
    while seek < total:
        frames = min(total - seek, config.window_frames)
        states = model.encode(input_features=_window(model, features, seek))
        no_speech = None
        if speech.no_timestamps:  # the token before it stands for silence
            likely = _first_logits(model, states, speech.start).float().softmax(-1)
            no_speech = float(likely[speech.no_timestamps - 1])
        scored = _Scored(pick)
        (ids,) = Decoding(
            TargetReader(model, states, [begin], cache=make_cache()),
            max_new_tokens=max_new_tokens,
            pick=scored,
            stop=stop,
            process=rules,
        ).texts()
        ended = ids[-1] in settings.stop
        kept = ids[:-1] if ended else ids
        segments, moved = cut(kept, first_time, frames, seek / FRAMES * PRECISION)
        if silent(speech, no_speech, scored.mean):
            segments, moved = [], frames
        yield Window(segments, no_speech, scored.mean, len(ids), ended)
        seek += moved or frames  # a last time of 0.00 would begin the same window again


def silent(speech: SpeechSettings, no_speech: float | None, log_probability: float) -> bool:
    """Whether a window is to be passed over. Arguments are those of `Window`."""
    if None in (speech.no_speech_threshold, speech.logprob_threshold, no_speech):
        return False
    assert speech.no_speech_threshold is not None and speech.logprob_threshold is not None
    assert no_speech is not None
    unsure = log_probability < speech.logprob_threshold
    return unsure and no_speech > speech.no_speech_threshold


def cut(
    ids: Sequence[int], first_time: int, frames: int, offset: float
) -> tuple[list[Segment], int]:
    """The segments of a window, and how many frames further the next one begins.

    A segment ends with a time that another one follows. What comes after the last of these is
    heard again in the next window, unless a single time ends it: then nothing is said after it.

    Args:
        ids: what was written.
        first_time: the id of 0.00.
        frames: of the window that are audio.
        offset: seconds of the recording before the window.
    """
    timed = [token >= first_time for token in ids]

    def seconds(token: int) -> float:
        return offset + (token - first_time) * PRECISION

    ends = [at for at in range(1, len(ids)) if timed[at - 1] and timed[at]]
    if not ends:
        last = next((token for token in reversed(ids) if token > first_time), None)
        end = offset + frames // FRAMES * PRECISION if last is None else seconds(last)
        return [Segment(offset, end, list(ids))], frames
    alone = timed[-2:] == [False, True]
    if alone:
        ends.append(len(ids))
    else:
        ends[-1] += 1  # both times stay: they show that something follows
    found = []
    for start, end in zip([0, *ends], ends, strict=False):
        last = end - 2 if end == ends[-1] and not alone else end - 1
        found.append(Segment(seconds(ids[start]), seconds(ids[last]), list(ids[start:end])))
    moved = frames if alone else (ids[ends[-1] - 2] - first_time) * FRAMES
    return found, moved


def timed(no_timestamps: int, eos: int, start: int, max_initial: int | None) -> Process:
    """Times come in pairs around each part of a text, never fall back, and begin it.

    Args:
        no_timestamps: the id before that of 0.00.
        eos: ids below are text.
        start: how many ids there are before the first new one.
        max_initial: steps that the first time may have at most; None: any.
    """
    zero = no_timestamps + 1

    def one(ids: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        """The same of a single row: its ids and its logits [vocab]."""
        logits, new = logits.clone(), ids[start:]
        logits[no_timestamps] = NEVER
        closes = bool(new) and new[-1] >= zero
        paired = len(new) < 2 or new[-2] >= zero
        if closes:
            (logits[zero:] if paired else logits[:eos]).fill_(NEVER)
        times = [token for token in new if token >= zero]
        if times:
            # The second time of a pair may equal the first; any other one is later.
            logits[zero : times[-1] + (0 if closes and not paired else 1)] = NEVER
        if not new:
            logits[:zero] = NEVER
            if max_initial is not None:
                logits[zero + max_initial + 1 :] = NEVER
        # If all times together are likelier than any one word, one of them comes.
        if logits[zero:].logsumexp(-1) > logits[:zero].max():
            logits[:zero] = NEVER
        return logits

    def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        texts = [[token for token in row if token >= 0] for row in ids.tolist()]
        return torch.stack([one(text, row) for text, row in zip(texts, logits, strict=True)])

    return process


class _Scored:
    """Picks as another does, and keeps the mean of the logarithms of probabilities of one row."""

    def __init__(self, pick: Pick) -> None:
        self._pick, self._sum, self._count = pick, 0.0, 0

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        picked = self._pick(logits)
        self._sum += float(logits.float().log_softmax(-1)[0, int(picked)])
        self._count += 1
        return picked

    @property
    def mean(self) -> float:
        return self._sum / self._count if self._count else -math.inf


def _window(model: Seq2SeqLM, features: torch.Tensor, start: int) -> torch.Tensor:
    config = model.config
    assert isinstance(config, WhisperConfig)
    return feature_window(features, start, config.window_frames).to(model.device)


def _first_logits(model: Seq2SeqLM, states: torch.Tensor, start: int) -> torch.Tensor:
    """The logits after the first token alone: [vocab]."""
    ids = torch.tensor([[start]], device=model.device)
    logits: torch.Tensor = model(decoder_input_ids=ids, encoder_states=states).logits[0, -1]
    return logits
