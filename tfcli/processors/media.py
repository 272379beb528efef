"""Opening files of audio and video: regular files or bytes, in formats that FFmpeg may read."""

from __future__ import annotations

import io
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tfcli.errors import WorkError
from tfcli.limits import MAX_MEDIA
from tfcli.stand_ins import refuse_stand_in

if TYPE_CHECKING:
    from av.container import InputContainer

Source = Path | str | bytes

# What FFmpeg may take a file for. Formats that name further files or addresses (HLS, DASH, concat,
# SDP, image sequences) and those that are programs or text are not among them.
_FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,gif,h264,hevc,ivf,m4v,"
    "matroska,mjpeg,mov,mp3,mpeg,mpegts,mpegvideo,ogg,tta,w64,wav,wv"
)


@contextmanager
def opened(source: Source) -> Iterator[tuple[BinaryIO, str]]:
    """A file, or bytes, open for reading; and what errors call it.

    Raises:
        WorkError: missing, no regular file, empty, too large, or a stand-in for a file of git's.
    """
    if isinstance(source, bytes):
        _check_size(len(source), name := "the given bytes")
        yield io.BytesIO(source), name
        return
    path, name = Path(source), str(source)
    try:
        # Opening a pipe would wait for somebody who writes to it.
        if not stat.S_ISREG(path.stat().st_mode):
            raise WorkError("the medium is not a regular file", where=name)
        file = path.open("rb")
    except FileNotFoundError:
        raise WorkError(f"there is no {path.name[:80]}", where=name, code="input.missing") from None
    except (OSError, ValueError) as error:
        raise WorkError(f"the medium cannot be read: {error}", where=name[:200]) from error
    with file:
        _check_size(file.seek(0, io.SEEK_END), name)
        file.seek(0)
        refuse_stand_in(path, file.read(1024))
        file.seek(0)
        yield file, name


def _check_size(size: int, name: str) -> None:
    if size == 0:
        raise WorkError("the medium is empty", where=name)
    if size > MAX_MEDIA:
        raise WorkError(
            f"the medium has {size:,} bytes; {MAX_MEDIA:,} at most are read", where=name
        )


@contextmanager
def open_container(file: BinaryIO, name: str) -> Iterator[InputContainer]:
    """A file that FFmpeg reads; what it fails over within the block is an error that names it.

    Raises:
        WorkError: no PyAV, none of the formats, or a damaged file.
    """
    try:
        import av
    except ImportError as error:
        raise WorkError(
            "this file needs the package av", where=name, fix="pip install 'tfcli[media]'"
        ) from error
    try:
        with av.open(
            file,
            mode="r",
            container_options={"format_whitelist": _FORMATS},
            metadata_errors="replace",
        ) as container:
            yield container
    except av.FFmpegError as error:
        raise WorkError(
            f"the medium cannot be read as audio or video: {error.strerror}",
            where=name,
            fix="it is damaged or cut off, or of another kind; get it again",
        ) from error
