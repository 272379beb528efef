"""A file that is written behind the back of whoever makes its content.

One thread makes the bytes, another writes and hashes them, so that reading, casting and writing go
on at the same time. What waits to be written is bounded: a ring of small buffers, and of tensors
that are written as they are the one before that is still on its way.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import queue
import threading
from typing import TYPE_CHECKING

from tfcli.checkpoints.io.casting import PIECE, cast_into, raw_bytes, row_blocks, wide_scratch
from tfcli.checkpoints.io.file_tensor import FileTensor

if TYPE_CHECKING:
    import torch

    from tfcli.checkpoints.io.file_tensor import Values

_SYNC_RANGE = getattr(ctypes.CDLL(None), "sync_file_range", None)  # Linux's
_WRITE = 2  # SYNC_FILE_RANGE_WRITE
_BUFFERS = 8
_BUFFER_BYTES = PIECE * 8
_TO_DISK = 1 << 25  # bytes after which the system is told to write what it holds
_SLICE = 1 << 20  # bytes that are handed over at once where nothing is cast: they are not copied


class Sink:
    """Writes bytes in order through a thread of its own, and hashes them.

    Args:
        descriptor: the file, open for writing.
    """

    def __init__(self, descriptor: int) -> None:
        self.at = 0
        self._descriptor = descriptor
        self._hash = hashlib.sha256()
        # What waits: the bytes, and the buffer that is free again when they are written.
        self._waiting: queue.Queue[tuple[memoryview, bytearray | None] | None]
        self._waiting = queue.Queue(maxsize=_BUFFERS)
        self._free: queue.Queue[bytearray | None] = queue.Queue()
        for _ in range(_BUFFERS):
            self._free.put(None)  # made at its first use: small files take none
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="sink", daemon=True)
        self._thread.start()

    def write(self, data: bytes | memoryview) -> None:
        """Write `data`, which must stay as it is until `finish`.

        Raises:
            OSError: an earlier piece could not be written.
        """
        view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        for start in range(0, view.nbytes, _SLICE):
            self._put(view[start : start + _SLICE], None)

    def write_tensor(self, values: Values, dtype: torch.dtype, name: str) -> None:
        """Write the values of a tensor in row-major order, cast to `dtype` piece by piece.

        Args:
            values: of any strides, on the CPU or in a file.
            dtype: what is written.
            name: for errors.

        Raises:
            OSError: as `write`.
            WorkError: a finite value becomes infinite in `dtype`, or the file changed.
        """
        import torch

        if isinstance(values, FileTensor):
            if values.dtype == dtype:
                self._copy(values)
                return
            pieces = values.pieces(PIECE)
        elif values.dtype == dtype and values.is_contiguous():
            self.write(raw_bytes(values).numpy().data)
            return
        else:
            pieces = row_blocks(values, PIECE)
        wide = wide_scratch()
        for piece in pieces:
            buffer = self._buffer()
            count = piece.numel()
            target = torch.frombuffer(buffer, dtype=dtype, count=count).view(piece.shape)
            cast_into(target, piece, wide, name)
            self._put(memoryview(buffer)[: count * dtype.itemsize], buffer)

    def _copy(self, values: FileTensor) -> None:
        """Read the bytes of a tensor into the ring of buffers."""
        with values.reading() as reader:
            for at in range(0, values.nbytes, _BUFFER_BYTES):
                buffer = self._buffer()
                view = memoryview(buffer)[: values.nbytes - at]
                reader.into(values.start + at, view)
                self._put(view, buffer)

    def _buffer(self) -> bytearray:
        """The next one that is free."""
        return self._free.get() or bytearray(_BUFFER_BYTES)

    def finish(self) -> str:
        """Wait until all is written.

        Returns:
            The SHA-256 of what was written, in hex.

        Raises:
            OSError: it could not be written.
        """
        self.close()
        if self._problem is not None:
            raise self._problem
        return self._hash.hexdigest()

    def close(self) -> None:
        """Stop the thread; what waits is still written."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()

    def _put(self, view: memoryview, buffer: bytearray | None) -> None:
        if self._problem is not None:
            raise self._problem
        self._waiting.put((view, buffer))
        self.at += view.nbytes

    def _work(self) -> None:
        written = begun = 0
        while (item := self._waiting.get()) is not None:
            view, buffer = item
            if self._problem is None:
                try:
                    write_all(self._descriptor, view)
                    self._hash.update(view)
                    written += view.nbytes
                    if written - begun >= _TO_DISK:
                        begin_writeback(self._descriptor, begun, written - begun)
                        begun = written
                except BaseException as problem:  # noqa: BLE001 - raised again where it is noticed
                    self._problem = problem
            if buffer is not None:
                self._free.put(buffer)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data`.

    One write call moves at most 2 GiB on Linux, and may stop earlier when the disk fills.
    """
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def begin_writeback(descriptor: int, start: int, nbytes: int) -> None:
    """Have the system begin to write a range of a file to the disk, without waiting for it.

    By itself it begins when a tenth of the memory waits, and then all of it is left to the flush at
    the end. Where the call is not there, nothing is done.
    """
    if _SYNC_RANGE is not None:
        _SYNC_RANGE(descriptor, ctypes.c_int64(start), ctypes.c_int64(nbytes), _WRITE)
