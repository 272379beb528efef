"""The content hash of a step's inputs, made beside the step's own work where nothing waits for it.

Hashing 16 GB takes as long as converting them. A step that cannot be skipped needs the hashes only
for its record, and while it reads its inputs they come from the page cache.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from tfcli.recipe.record import digest_input
from tfcli.recipe.spec import Spec, paths_with_role


class InputDigests(Mapping[str, str]):
    """Path or hub id -> hash or commit, of every input of a spec.

    Whoever reads it first has the hashes made, or waits for the thread that makes them.

    Args:
        spec: the step. Models of the hub are fetched now, so that nothing waits for them later.
    """

    def __init__(self, spec: Spec) -> None:
        self._local = [value for _, value in paths_with_role(spec, "input")]
        self._found: dict[str, str] = {}
        for _, value in paths_with_role(spec, "model"):
            if Path(value).exists():
                self._local.append(value)
            else:
                from tfcli.hub import commit_of, resolve

                self._found[value] = f"commit {commit_of(resolve(value))}"
        self._problem: BaseException | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin in another thread. It does not keep the process alive."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="digests", daemon=True)
            self._thread.start()

    def __getitem__(self, key: str) -> str:
        return self._whole()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())

    def _whole(self) -> dict[str, str]:
        self.start()
        assert self._thread is not None
        self._thread.join()
        if self._problem is not None:
            raise self._problem
        return self._found

    def _work(self) -> None:
        try:
            for value in self._local:
                self._found[value] = digest_input(Path(value))
        except BaseException as problem:  # noqa: BLE001 - raised again where it is noticed
            self._problem = problem
