"""Frames of clips that the tests make: which ones, when, what of them, and what is refused."""

from __future__ import annotations

import io
import os
import struct

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from transformers.video_utils import load_video

from tests.processors.audio.clips import RATE, ffmpeg_file, sine, sound_file
from tests.processors.video.clips import SIZE, clip, grey, picture, shown
from tfcli.errors import UsageError, WorkError
from tfcli.processors.video import frames as module
from tfcli.processors.video.frames import read_frames

FILES = {
    "mp4": {},
    "mp4 with b-frames": {"bf": "3", "g": "8"},
    "mp4 with open groups": {"bf": "3", "g": "8", "x264-params": "open-gop=1:bframes=3:keyint=8"},
    "mp4 for the web": {"movflags": "faststart"},
    "mp4 in fragments": {"movflags": "frag_keyframe+empty_moov", "g": "5"},
    "mkv": {"name": "a.mkv", "g": "8", "bf": "2"},
    "webm": {"name": "a.webm", "codec": "libvpx-vp9", "g": "8"},
    "webm of vp8": {"name": "a.webm", "codec": "libvpx", "auto-alt-ref": "1",
                    "lag-in-frames": "16", "g": "8"},
    "avi": {"name": "a.avi", "codec": "mpeg4", "g": "6", "qmax": "2"},
    "mjpeg": {"name": "a.avi", "codec": "mjpeg"},
    "gif": {"name": "a.gif", "codec": "gif"},
    "mpegts": {"name": "a.ts", "g": "8", "bf": "2"},
    "bare h264": {"name": "a.h264", "bf": "2"},
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_container_gives_its_frames(name: str) -> None:
    data = clip(**FILES[name])
    found = read_frames(data)
    assert found.frames.dtype == torch.uint8
    assert found.frames.shape == (found.total, SIZE[1], SIZE[0], 3)
    if name != "webm of vp8":  # it has packets that are never shown
        assert found.total == 30 and shown(found.frames) == list(range(30))
    else:
        assert 30 <= found.total <= 34
    some = read_frames(data, num_frames=7)
    assert torch.equal(some.frames, found.frames[some.indices])


@pytest.mark.parametrize("name", ["mp4", "mp4 with b-frames", "avi", "gif"])
@pytest.mark.parametrize("options", [{"num_frames": 5}, {"fps": 4}, {}])
def test_frames_are_those_of_transformers(tmp_path, name: str, options) -> None:
    suffix = FILES[name].get("name", "a.mp4")
    (tmp_path / suffix).write_bytes(clip(**FILES[name]))
    theirs, metadata = load_video(str(tmp_path / suffix), backend="pyav", **options)
    found = read_frames(tmp_path / suffix, **options)
    assert np.array_equal(found.frames, theirs)
    assert found.indices == list(metadata.frames_indices)
    assert found.timestamps == pytest.approx(metadata.timestamps)
    assert found.fps == pytest.approx(float(metadata.fps))


def test_every_few_frames() -> None:
    found = read_frames(clip(), num_frames=4, frame_sampling_rate=5)
    assert found.indices == [0, 6, 12, 19] == shown(found.frames)
    assert found.timestamps == pytest.approx([0, 0.6, 1.2, 1.9])


def test_frames_that_are_not_equally_long() -> None:
    times = [0, 100, 200, 300, 2000, 2100, 2200, 4000]
    data = clip(8, name="a.mkv", times=times)
    found = read_frames(data)
    assert shown(found.frames) == list(range(8))
    assert found.timestamps == pytest.approx([time / 1000 for time in times])
    assert found.fps == pytest.approx(7 / 4)
    by_time = read_frames(data, fps=1)
    assert by_time.indices == [0, 3, 6, 6] == shown(by_time.frames)


def test_only_what_follows_a_key_frame_is_decoded(monkeypatch) -> None:
    data = clip(32, g="8", bf="0")
    decoded = []
    real = module._Seeker._decode

    def counted(self):
        for frame in real(self):
            decoded.append(frame)
            yield frame

    monkeypatch.setattr(module._Seeker, "_decode", counted)
    assert shown(read_frames(data, num_frames=2).frames) == [0, 16]
    assert len(decoded) == 2  # the first, and one at the third key frame


def turned(data: bytes, *matrix: int) -> bytes:
    """An MP4 whose header says how to turn its frames; a quarter turn is a 1 of 16.16 bits."""
    at = data.index(b"tkhd") + 44
    numbers = [number << 16 for number in matrix]
    rows = [*numbers[:2], 0, *numbers[2:], 0, 0, 0, 1 << 30]
    return data[:at] + struct.pack(">9i", *rows) + data[at + 36 :]


def test_frames_are_turned_as_players_show_them() -> None:
    data = clip(2, half=True)  # the left half is dark
    plain = read_frames(data).frames
    assert plain[0, :, :20].max() < 60 and plain[0, :, 28:].min() > 180
    clockwise = read_frames(turned(data, 0, 1, -1, 0)).frames
    assert clockwise.shape == (2, SIZE[0], SIZE[1], 3)
    assert torch.equal(clockwise, torch.rot90(plain, -1, (1, 2)))
    assert clockwise[0, :20].max() < 60  # what was left is above
    around = read_frames(turned(data, -1, 0, 0, -1)).frames
    assert torch.equal(around, torch.rot90(plain, 2, (1, 2)))


@pytest.mark.parametrize("name", ["a.mp4", "a.h264"])
def test_one_frame_has_no_rate(name: str) -> None:
    found = read_frames(clip(1, name=name))
    assert (found.total, found.fps, found.timestamps) == (1, None, [0.0])
    assert shown(found.frames) == [0]


def test_frames_that_an_edit_cuts_off_do_not_count() -> None:
    data = bytearray(clip(12, g="4", bf="0"))
    at = data.index(b"elst") + 12  # duration and beginning of what is shown
    data[at : at + 8] = struct.pack(">Ii", 700, 5 * 1024)
    found = read_frames(bytes(data))
    assert shown(found.frames) == list(range(5, 12))
    assert found.timestamps[:2] == pytest.approx([0, 0.1])


def test_the_cover_of_an_album_is_no_video() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mp3") as container:
        audio = container.add_stream("libmp3lame", rate=RATE, layout="mono")
        cover = container.add_stream("mjpeg")
        cover.width, cover.height = SIZE
        cover.pix_fmt = "yuvj420p"
        cover.disposition = Disposition.attached_pic
        image = av.VideoFrame.from_ndarray(picture(9), format="rgb24")
        sound = av.AudioFrame.from_ndarray(sine()[None], format="fltp", layout="mono")
        sound.rate = RATE
        for stream, frame in ((cover, image), (audio, sound)):
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    refused(out.getvalue(), "there is no video in it")


def refused(source, message: str, error=WorkError, **options) -> None:
    with pytest.raises(error, match=message):
        read_frames(source, **options)


def test_what_is_no_video(tmp_path) -> None:
    refused(sound_file(sine()), "there is no video in it")
    refused(ffmpeg_file(sine()), "there is no video in it")
    refused(b"", "is empty")
    refused(b"hello, this is text\n" * 50, "cannot be read as audio or video")
    refused(os.urandom(4_000), "cannot be read as audio or video|no frames|no video")
    refused(tmp_path / "a.mp4", r"there is no a\.mp4")
    refused(tmp_path, "not a regular file")


def test_the_name_of_a_file_does_not_count(tmp_path) -> None:
    (tmp_path / "a.txt").write_bytes(clip(name="a.webm", codec="libvpx-vp9"))
    assert read_frames(tmp_path / "a.txt", num_frames=1).total == 30


@pytest.mark.parametrize("name", ["mp4", "mp4 for the web", "avi", "mjpeg"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_video_that_is_cut_off(name: str, share: float) -> None:
    whole = clip(**FILES[name])
    if name == "avi" and share == 0.95:  # its index is cut off, its frames are all there
        assert read_frames(whole[: int(len(whole) * share)]).total == 30
        return
    refused(whole[: int(len(whole) * share)], "is cut off|cannot be read")


@pytest.mark.parametrize("name", ["mkv", "webm", "mpegts"])
def test_a_format_without_a_length_is_read_as_far_as_it_goes(name: str) -> None:
    whole = clip(**FILES[name])
    found = read_frames(whole[: int(len(whole) * 0.7)])
    assert 3 < found.total < 30
    assert shown(found.frames)[:-1] == list(range(found.total - 1))


def test_a_video_without_frames() -> None:
    whole = clip(1, name="a.mkv")
    at = whole.index(b"\x1f\x43\xb6\x75")  # the first cluster
    refused(whole[:at], "no frames|cannot be read")


def test_damaged_frames_are_not_passed_off_as_whole() -> None:
    whole = clip(12, name="a.mkv", size=(96, 96), half=True, g="8")
    draw = np.random.default_rng(0)
    said = []
    for _ in range(40):
        damaged = bytearray(whole)
        for at in draw.integers(len(whole) // 3, len(whole), size=3):
            damaged[at] = draw.integers(256)
        try:
            read_frames(bytes(damaged))
        except WorkError as error:
            said.append(error.what)
    assert any(what.startswith("frame ") and what.endswith("is damaged") for what in said)


def test_absurd_sizes(monkeypatch) -> None:
    data = clip()
    monkeypatch.setattr(module, "MAX_FRAME_PIXELS", 1_000)
    refused(data, "48 x 32 pixels, not 1..1,000 in all")
    monkeypatch.undo()
    monkeypatch.setattr(module, "MAX_VIDEO_FRAMES", 20)
    refused(data, "more than 20 frames")
    monkeypatch.undo()
    monkeypatch.setattr(module, "MAX_FRAME_BYTES", 10 * 48 * 32 * 3)
    refused(data, "30 frames of 48 x 32 pixels would take 138 kB, more than 46.1 kB")
    assert len(read_frames(data, num_frames=10).frames) == 10


def test_a_size_that_only_the_header_claims() -> None:
    """A GIF of 65,535 x 65,535 pixels in 30 bytes: refused before anything is allocated."""
    bomb = bytearray(clip(2, name="a.gif", codec="gif"))
    bomb[6:10] = b"\xff\xff\xff\xff"
    refused(bytes(bomb), " pixels, not 1|cannot be read")


def test_arguments_that_contradict_each_other() -> None:
    data = clip()
    for options, message in (
        ({"fps": 1, "num_frames": 2}, "fps stands without"),
        ({"frame_sampling_rate": 2}, "needs num_frames"),
        ({"num_frames": 31}, "31 frames are wanted of a video that has 30"),
        ({"fps": 20}, "60 frames are wanted"),
        ({"num_frames": 8, "frame_sampling_rate": 4}, "32 frames are wanted"),
    ):
        refused(data, message, UsageError, **options)


@pytest.mark.parametrize("name", ["mp4", "avi", "webm", "gif", "mpegts"])
def test_files_with_changed_bytes_are_read_or_refused(name: str, capfd) -> None:
    """Nothing else happens, whatever bytes are changed, and no library says anything."""
    whole = clip(12, **FILES[name])
    draw = np.random.default_rng(3)
    for _ in range(25):
        changed = bytearray(whole)
        for at in draw.integers(0, len(whole), size=3):
            changed[at] = draw.integers(256)
        try:
            found = read_frames(bytes(changed), num_frames=2)
        except (WorkError, UsageError):
            continue
        assert len(found.frames) == 2
    assert capfd.readouterr().err == ""


def test_the_greys_of_the_clips_differ() -> None:
    assert len({grey(index) for index in range(34)}) == 34
