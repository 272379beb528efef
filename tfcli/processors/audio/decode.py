"""Audio files to blocks of samples: libsndfile for what it reads exactly, FFmpeg for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from tfcli.errors import WorkError
from tfcli.processors.cut_off import refuse_cut_off
from tfcli.processors.media import Source, open_container, opened

_BLOCK = 1 << 16  # samples of each channel that are decoded at once
# What begins files of which libsndfile gives the same samples as the library that transformers
# uses. MP3 is left to FFmpeg: libsndfile's decoder writes warnings to stderr by itself.
_SNDFILE = (b"RIFF", b"RF64", b"riff", b"FORM", b"fLaC", b"OggS", b"caff", b".snd")
_NOT_ITS_KIND = (1, 4)  # libsndfile's codes: no format that it knows, an encoding that it lacks


@dataclass(frozen=True)
class AudioBlocks:
    """An open audio file.

    Args:
        sampling_rate: in Hz, as the header says.
        channels: likewise.
        samples: of each channel, where the header says it.
        blocks: float32 arrays [samples, channels], decoded one by one; WorkError where that fails.
    """

    sampling_rate: int
    channels: int
    samples: int | None
    blocks: Iterator[np.ndarray]


@contextmanager
def open_audio(source: Source) -> Iterator[tuple[AudioBlocks, str]]:
    """Open a file, or the bytes of one, by its content; its name does not count.

    Yields:
        the audio, and what errors call the file

    Raises:
        WorkError: no file, no audio in it, a damaged or cut-off one, or a package lacks.
    """
    with opened(source) as (file, name):
        refuse_cut_off(file, name)
        head = file.read(12)
        file.seek(0)
        if head.startswith(_SNDFILE) and head[8:] != b"AVI ":
            found = _sndfile(file, name)
            if found is not None:
                yield found, name
                return
            file.seek(0)
        with open_container(file, name) as container:
            if not container.streams.audio:
                raise WorkError("there is no audio in it", where=name)
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise WorkError("its audio is of a kind that FFmpeg cannot decode", where=name)
            frames = _frames(container, stream, name)
            yield AudioBlocks(stream.rate or 0, stream.channels or 0, None, frames), name


def _sndfile(file: BinaryIO, name: str) -> AudioBlocks | None:
    """None for what libsndfile does not know."""
    try:
        import soundfile
    except ImportError as error:
        raise WorkError(
            "this file needs the package soundfile", where=name, fix="pip install 'tfcli[media]'"
        ) from error
    try:
        audio = soundfile.SoundFile(_Seekable(file))
    except soundfile.LibsndfileError as error:
        if error.code in _NOT_ITS_KIND:
            return None
        raise _damaged(error, name) from None
    known = audio.frames < 1 << 62  # it says the largest number where the header says nothing
    return AudioBlocks(
        audio.samplerate, audio.channels, audio.frames if known else None, _read(audio, name)
    )


class _Seekable:
    """A file in which a damaged header's places are looked for in vain, but without a word.

    soundfile is called back by C code, where Python prints an exception and nobody catches it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read, self.readinto, self.tell = file.read, file.readinto, file.tell  # type: ignore[attr-defined]

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (ValueError, OSError):
            return self._file.tell()


def _read(audio: Any, name: str) -> Iterator[np.ndarray]:
    import soundfile

    with audio:
        while True:
            try:
                block = audio.read(_BLOCK, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError) as error:
                raise _damaged(error, name) from None
            if not len(block):
                return
            yield block


def _damaged(error: Exception, name: str) -> WorkError:
    said = str(error).partition(": ")[2] or str(error)
    return WorkError(
        f"the file cannot be read as audio: {said}", where=name, fix="it is damaged; get it again"
    )


def _frames(container: Any, stream: Any, name: str) -> Iterator[np.ndarray]:
    import av

    planar = av.AudioResampler(format="fltp")  # another form of the samples; neither rate nor mix
    rate, channels = stream.rate, stream.channels
    for frame in container.decode(stream):
        if frame.sample_rate != rate or frame.layout.nb_channels != channels:
            raise WorkError(
                f"changes from {channels} channels at {rate:,} Hz to "
                f"{frame.layout.nb_channels} at {frame.sample_rate:,} Hz",
                where=name,
            )
        for converted in planar.resample(frame):
            yield converted.to_ndarray().T
