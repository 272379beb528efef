"""Audio from files, bytes and arrays: formats, rates, channels, and what is refused."""

from __future__ import annotations

import io
import os
import struct
import sys

import numpy as np
import pytest
import soundfile
import soxr
import torch
from transformers.audio_utils import load_audio as their_load_audio

from tests.processors.audio.clips import RATE, ffmpeg_file, noise, sine, sound_file
from tfcli.errors import UsageError, WorkError
from tfcli.processors.audio import decode, load
from tfcli.processors.audio.load import load_audio
from tfcli.processors.audio.resample import resampled

LOSSLESS = [("WAV", "FLOAT"), ("WAV", "PCM_16"), ("FLAC", "PCM_24"), ("AIFF", "PCM_16"),
            ("W64", "PCM_16"), ("CAF", "FLOAT"), ("AU", "PCM_16"), ("RF64", "PCM_16")]  # fmt: skip
LOSSY = {"ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "mp3": ("MP3", None)}


def loudest(samples: torch.Tensor) -> float:
    """The strongest frequency in Hz."""
    return float(torch.fft.rfft(samples).abs().argmax()) * RATE / len(samples)


@pytest.mark.parametrize(("kind", "subtype"), LOSSLESS)
def test_lossless_files_give_their_samples(kind: str, subtype: str) -> None:
    tone = sine()
    found = load_audio(sound_file(tone, kind=kind, subtype=subtype), RATE)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.from_numpy(tone), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_files_sound_alike(tmp_path, name: str) -> None:
    path = tmp_path / f"tone.{name}"
    path.write_bytes(sound_file(sine(), kind=LOSSY[name][0], subtype=LOSSY[name][1]))
    found = load_audio(path, RATE)
    assert len(found) == len(sine()) and loudest(found) == pytest.approx(440, abs=3)


@pytest.mark.parametrize(
    ("kind", "codec", "rate"),
    [("ipod", "aac", RATE), ("adts", "aac", RATE), ("matroska", "libopus", 48_000),
     ("webm", "libopus", 48_000), ("mp3", "libmp3lame", RATE), ("mp4", "alac", RATE)],
)  # fmt: skip
def test_files_that_ffmpeg_reads(kind: str, codec: str, rate: int) -> None:
    found = load_audio(ffmpeg_file(sine(0.5, rate), rate, kind, codec), RATE)
    assert len(found) == pytest.approx(RATE // 2, abs=1300)  # a frame of aac more
    assert loudest(found) == pytest.approx(440, abs=3)


def test_the_name_of_a_file_does_not_count(tmp_path) -> None:
    path = tmp_path / "tone.mp3"
    path.write_bytes(sound_file(sine(), kind="FLAC"))
    torch.testing.assert_close(
        load_audio(str(path), RATE), torch.from_numpy(sine()), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_a_file_at_another_rate_is_what_transformers_loads(tmp_path, rate: int) -> None:
    path = tmp_path / "noise.wav"
    path.write_bytes(sound_file(noise(rate + 1), rate))
    theirs = their_load_audio(str(path), RATE, backend="soundfile")
    found = load_audio(path, RATE)
    assert len(found) == len(theirs)
    torch.testing.assert_close(found, torch.from_numpy(theirs), atol=1e-6, rtol=0)


def test_resampling_in_blocks_is_resampling_at_once() -> None:
    whole = noise(10_007)
    blocks = iter(np.split(whole, [1, 30, 5_000]))
    found = np.concatenate(list(resampled(blocks, 44_100, RATE)))
    wanted = soxr.resample(whole, 44_100, RATE)
    assert len(found) == -(-10_007 * RATE // 44_100)
    np.testing.assert_allclose(found[: len(wanted)], wanted[: len(found)], atol=1e-6)


def test_channels_are_averaged() -> None:
    left, right = sine(), sine(hertz=1_000)
    both = np.stack([left, right])
    mean = torch.from_numpy((left + right) / 2)
    file = sound_file(both.T, subtype="FLOAT")
    torch.testing.assert_close(load_audio(file, RATE), mean)
    torch.testing.assert_close(load_audio(both, RATE, RATE), mean)
    torch.testing.assert_close(load_audio(torch.from_numpy(both), RATE, RATE), mean)


def test_whole_numbers_stand_for_fractions() -> None:
    expected = torch.tensor([0.5, -1.0])
    for dtype, full in ((np.int16, 1 << 15), (np.int32, 1 << 31)):
        samples = np.array([full // 2, -full], dtype=dtype)
        torch.testing.assert_close(load_audio(samples, RATE, RATE), expected)
    torch.testing.assert_close(load_audio([0.5, -1], RATE, RATE), expected)
    torch.testing.assert_close(load_audio([1, -1], RATE, RATE), torch.tensor([1.0, -1.0]))


def test_half_precision_and_doubles_are_samples() -> None:
    tone = torch.from_numpy(sine())
    torch.testing.assert_close(load_audio(tone.double(), RATE, RATE), tone)
    torch.testing.assert_close(load_audio(tone.bfloat16(), RATE, RATE), tone.bfloat16().float())


def test_silence_is_audio() -> None:
    assert not load_audio(sound_file(np.zeros(100, "f4")), RATE).any()


# What is refused.


def refused(audio, message: str, source_rate: int | None = None) -> None:
    with pytest.raises(WorkError, match=message):
        load_audio(audio, RATE, source_rate)


def test_no_samples() -> None:
    refused(sound_file(np.zeros(0, "f4")), "no samples")
    refused(np.zeros(0, "f4"), "no samples", RATE)
    refused(b"", "is empty")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(bad: float) -> None:
    tone = sine(6)
    tone[70_000] = bad  # in the second block of a file
    refused(sound_file(tone, subtype="FLOAT"), "sample 70,000 is not a finite number")
    refused(tone, "sample 70,000 is not a finite number", RATE)


def test_a_nan_in_one_channel() -> None:
    both = np.stack([sine(), sine()])
    both[1, 7] = np.nan
    refused(both, "sample 7 is not", RATE)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "FLAC"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.99])
def test_a_file_that_is_cut_off(kind: str, share: float) -> None:
    whole = sound_file(noise(RATE), kind=kind)
    refused(whole[: int(len(whole) * share)], "cut off|cannot be read as audio")


def test_a_chunk_of_an_odd_length_before_the_samples() -> None:
    whole = sound_file(sine(), subtype="PCM_16")
    chunked = whole[:12] + b"note\x03\x00\x00\x00abc\x00" + whole[12:]
    assert len(load_audio(chunked, RATE)) == len(sine())
    refused(chunked[:-10], "is cut off: 10 bytes")


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_an_mp4_that_is_cut_off(options, share: float) -> None:
    whole = ffmpeg_file(noise(RATE), **options)
    refused(whole[: int(len(whole) * share)], "is cut off: .* bytes")


@pytest.mark.parametrize("share", [0.6, 0.9])
@pytest.mark.parametrize("kind", ["mp3", "ogg"])
def test_a_format_without_a_length_is_read_as_far_as_it_goes(kind: str, share: float) -> None:
    if kind == "mp3":
        whole = ffmpeg_file(sine(10), kind="mp3", codec="libmp3lame")
    else:
        whole = sound_file(sine(10) + 0.2 * noise(10 * RATE), kind="OGG")
    found = load_audio(whole[: int(len(whole) * share)], RATE)
    assert 0.3 * share < len(found) / (10 * RATE) < share + 0.1
    assert loudest(found) == pytest.approx(440, abs=6)


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF])
def test_a_wav_that_a_program_wrote_into_a_pipe(size: int) -> None:
    whole = bytearray(sound_file(sine(), subtype="PCM_16"))
    at = whole.index(b"data") + 4
    whole[at : at + 4] = struct.pack("<I", size)
    if size:
        assert len(load_audio(bytes(whole), RATE)) == len(sine())
    else:
        refused(bytes(whole), "no samples")


def with_rate(rate: int) -> bytes:
    """A WAV file whose header says another rate."""
    whole = bytearray(sound_file(sine()))
    whole[24:28] = struct.pack("<I", rate)
    return bytes(whole)


@pytest.mark.parametrize("rate", [1, 999, 768_001, 2**31 - 1])
def test_absurd_rates(rate: int) -> None:
    refused(with_rate(rate), f"a sampling rate of {rate:,} Hz")
    refused(sine(), f"a sampling rate of {rate:,} Hz", rate)


def test_no_rate_at_all() -> None:
    refused(with_rate(0), "cannot be read as audio|sampling rate of 0")
    refused(sine(), "sampling rate of 0 Hz", 0)
    refused(sine(), "sampling rate of -5 Hz", -5)


def test_absurd_channels() -> None:
    refused(sound_file(np.zeros((10, 65), "f4")), "has 65 channels")


def test_a_length_that_a_header_claims_is_refused_before_anything_is_decoded(monkeypatch) -> None:
    def decoded(*_):
        pytest.fail("it is decoded")
        yield

    monkeypatch.setattr(decode, "_read", decoded)
    whole = bytearray(sound_file(sine(), kind="FLAC"))
    # The low 4 bits of byte 21 and the next 4 bytes are the number of samples.
    whole[21] |= 0x0F
    whole[22:26] = b"\xff\xff\xff\xff"
    refused(bytes(whole), "68,719,476,735 samples, more than")


def test_too_much_is_noticed_while_it_is_decoded(monkeypatch) -> None:
    monkeypatch.setattr(load, "MAX_AUDIO_SAMPLES", 20_000)
    whole = ffmpeg_file(sine(2), kind="mp3", codec="libmp3lame")
    refused(whole, "more than 20,000")
    monkeypatch.undo()
    monkeypatch.setattr(load, "MAX_DECODED_SAMPLES", 20_000)
    refused(whole, "more than 20,000")


def test_resampling_up_counts() -> None:
    with pytest.raises(WorkError, match="more than"):
        load_audio(np.zeros(3_000_000, "f4"), 768_000, 8_000)


def test_what_is_no_audio(tmp_path) -> None:
    refused(b"RIFF", "cannot be read as audio")
    refused(b"hello, this is text\n" * 50, "cannot be read as audio or video")
    refused(os.urandom(4_000), "cannot be read as audio")
    refused(b"\x89PNG\r\n\x1a\n" + bytes(100), "cannot be read as audio")
    refused(tmp_path, "not a regular file")
    refused(tmp_path / "nothing.wav", "there is no nothing.wav")
    refused("/dev/zero", "not a regular file")
    refused("a\0b", "cannot be read")


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    refused(tmp_path / "pipe.wav", "not a regular file")


def test_a_playlist_opens_no_other_file(tmp_path) -> None:
    (tmp_path / "tone.aac").write_bytes(ffmpeg_file(sine(), kind="adts"))
    listed = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\ntone.aac\n#EXT-X-ENDLIST\n"
    for name, text in {
        "list.m3u8": listed,
        "list.ffconcat": "ffconcat version 1.0\nfile tone.aac\n",
    }.items():
        (tmp_path / name).write_text(text)
        refused(tmp_path / name, "cannot be read as audio or video")


def test_a_stand_in_is_named(tmp_path) -> None:
    pointer = tmp_path / "tone.wav"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    refused(pointer, "pointer of Git LFS")


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "AIFF", "MP3"])
def test_files_with_changed_bytes_are_read_or_refused(kind: str, capfd) -> None:
    """Nothing else happens, whatever bytes are changed, and no library says anything."""
    whole = sound_file(noise(4_000), kind=kind)
    draw = np.random.default_rng(3)
    for _ in range(40):
        changed = bytearray(whole)
        for at in draw.integers(0, min(len(whole), 300), size=3):
            changed[at] = draw.integers(256)
        try:
            found = load_audio(bytes(changed), RATE)
        except WorkError:
            continue
        assert found.isfinite().all() and 0 < len(found) < 500_000
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("package", ["soundfile", "av", "soxr"])
def test_a_package_that_lacks_is_named(monkeypatch, package: str) -> None:
    file = {"soundfile": sound_file(sine()), "av": ffmpeg_file(sine()),
            "soxr": sound_file(sine(rate=8_000), 8_000)}[package]  # fmt: skip
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(WorkError, match=f"needs the package {package}") as error:
        load_audio(file, RATE)
    assert error.value.fix == "pip install 'tfcli[media]'"


def test_arguments_that_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="a file says its own"):
        load_audio(sound_file(sine()), RATE, RATE)
    with pytest.raises(UsageError, match="without their sampling rate"):
        load_audio(sine(), RATE)
    with pytest.raises(UsageError, match="would be 8,000 channels") as error:
        load_audio(np.stack([sine(), sine()], 1), RATE, RATE)
    assert error.value.fix == "transpose it to [channels, samples]"
    for wrong in (np.zeros(3, "c8"), np.array(["a"]), [[1.0], [1.0, 2.0]], np.zeros((1, 1, 9))):
        with pytest.raises(UsageError, match="are no"):
            load_audio(wrong, RATE, RATE)


def test_decoding_takes_memory_for_the_result_alone(monkeypatch) -> None:
    """A file is read in blocks: no array holds all its channels."""
    seen = []
    real = load._mixed

    def watched(blocks, name):
        def each():
            for block in blocks:
                seen.append(len(block))
                yield block

        return real(each(), name)

    monkeypatch.setattr(load, "_mixed", watched)
    load_audio(sound_file(np.zeros((200_000, 8), "f4")), RATE)
    assert sum(seen) == 200_000 and max(seen) <= 1 << 16


def test_soundfile_is_read_from_bytes_as_from_paths(tmp_path) -> None:
    data = sound_file(noise(5_000), kind="FLAC")
    (tmp_path / "a.flac").write_bytes(data)
    assert torch.equal(load_audio(data, RATE), load_audio(tmp_path / "a.flac", RATE))
    assert soundfile.info(io.BytesIO(data)).frames == 5_000
