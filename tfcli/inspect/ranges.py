"""A file on the hub of which only some bytes are fetched, into a file of its true size here.

A file system keeps what is not written as a hole, so that readers open it as any other file.
"""

from __future__ import annotations

from pathlib import Path

from tfcli.errors import WorkError
from tfcli.hub_choice import HubRef

BLOCK = 100_000
"""Bytes that are asked for at once where a header begins; most of safetensors files are shorter."""
_LITTLE = 4096
"""Bytes that are asked for at once where one record is sought, of many that lie far apart."""


class RemoteFile:
    """One file of a repository.

    Args:
        asked: the repository.
        revision: of it.
        name: of the file.
        path: where the file is made here.

    Attributes:
        size: of the whole file, in bytes.
        fetched: bytes that were asked for so far.
    """

    def __init__(self, asked: HubRef, revision: str, name: str, path: Path) -> None:
        from huggingface_hub import hf_hub_url

        self._name, self._where = name, asked.name
        self._url = hf_hub_url(asked.name, name, revision=revision)
        self.path, self.size, self.fetched = path, 0, 0
        self._held: list[tuple[int, int]] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self.hold(0, 1)

    def hold(self, start: int, stop: int, block: int = BLOCK) -> bytes:
        """The bytes from one place to another, as far as the file has them.

        Args:
            block: as many are fetched at least.
        """
        stop = min(stop, self.size) if self._held else stop
        if not any(first <= start and stop <= last for first, last in self._held):
            self._fetch(start, max(stop, start + block))
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def _fetch(self, start: int, stop: int) -> None:
        data, self.size = self._ask(start, stop)
        stop = min(stop, self.size)
        if len(data) < stop - start:
            raise WorkError(f"{self._name} ended early", where=self._where, fix="run it again")
        self.fetched += len(data)
        self._held.append((start, stop))
        with self.path.open("r+b") as file:
            file.truncate(self.size)
            file.seek(start)
            file.write(data)

    def _ask(self, start: int, stop: int) -> tuple[bytes, int]:
        """The bytes from one place to another, and the size of the whole file."""
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        # As it lies there: a compressed answer has other places.
        headers = build_hf_headers() | {
            "Range": f"bytes={start}-{stop - 1}",
            "Accept-Encoding": "identity",
        }
        with get_session().stream(
            "GET", self._url, headers=headers, follow_redirects=True
        ) as answer:
            hf_raise_for_status(answer)
            partial = answer.headers.get("Content-Range")
            if partial is None:  # it sends all from the beginning
                size, left = int(answer.headers["Content-Length"]), stop
            else:
                size, left = int(partial.rpartition("/")[2]), stop - start
            held = bytearray()
            for piece in answer.iter_bytes():
                held += piece
                if len(held) >= left:
                    break
        return bytes(held[:left] if partial is not None else held[start:stop]), size

    def bytes(self, start: int, count: int) -> bytes:
        """`count` bytes from the place `start` on; fewer where the file ends."""
        return self.hold(start, start + count, _LITTLE)
