"""The content hash of a step's inputs, made beside the step's own work where nothing waits for it.

Hashing 16 GB takes as long as converting them. A step that cannot be skipped needs the hashes only
for its record, and while it reads its inputs they come from the page cache.

The hashes are of what the step read: every file is looked at before the step begins, when it is
hashed and when the step is done, and one that was changed meanwhile is an error.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from tfcli.data.layout import here
from tfcli.hub import HubRef, local_path, locate
from tfcli.recipe.content import READ_ONCE, Content, has_changed, is_stream, look, look_at_word
from tfcli.recipe.hub_content import look_at_hub
from tfcli.recipe.spec import Input, Reads, Spec, inputs_of


class InputDigests(Mapping[str, str]):
    """Path or hub id -> hash or commit, of every input of a spec.

    Whoever reads it first has the hashes made, or waits for the thread that makes them.

    Args:
        spec: the step. Its files are looked at now, and the hub is asked for the commits.
        anew: hash every file, also those that this machine has hashed before.
    """

    def __init__(self, spec: Spec, *, anew: bool = False) -> None:
        self.commits: dict[HubRef, str] = {}
        self._anew = anew
        self._found: dict[str, str] = {}
        self._contents: dict[str, Content] = {}
        self._weights: set[str] = set()
        self._read: set[str] = set()  # those that the step has in memory
        for name, uses in _by_name(spec).items():
            self._look(name, uses)
        # Weights come last: text is soon in memory, and then its hash is asked for.
        order = sorted(self._contents, key=self._weights.__contains__)
        self._hashed = {name: threading.Event() for name in order}
        self._problem: BaseException | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin in another thread. It does not keep the process alive."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="digests", daemon=True)
            self._thread.start()

    def has_read(self, *names: str) -> None:
        """Say that the step has inputs in memory: what becomes of their files now is all the same.

        Raises:
            WorkError: one was changed before it was read.
        """
        for name in self._contents.keys() & set(names):
            self._require_same(name)
            self._read.add(name)

    def confirm(self) -> list[str]:
        """See to it, when the step is done, that its inputs are what they were when it began.

        Returns:
            Those that were written to and hold the same again. What the step has read of them
            is not known, so their hash is one that no other step has.

        Raises:
            WorkError: one has another content now.
        """
        doubtful = []
        for name in self._contents.keys() - self._read:
            if self._require_same(name):
                self._found[name] += f", written to while it was read ({uuid.uuid4().hex})"
                doubtful.append(name)
        return sorted(doubtful)

    def __getitem__(self, key: str) -> str:
        if key in self._hashed:
            self.start()
            self._hashed[key].wait()
            if self._problem is not None:
                raise self._problem
        return self._found[key]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._contents, *self._found.keys() - self._contents.keys()])

    def __len__(self) -> int:
        return len(self._contents.keys() | self._found.keys())

    def _look(self, name: str, uses: list[Input]) -> None:
        word = uses[0].word
        if word is not None:
            self._contents[name] = look_at_word(word)
            return
        model = any(each.reads == "model" for each in uses)
        if model:
            self._weights.add(name)
        data = any(each.reads == "data" for each in uses)
        if model or data:
            path = local_path(name) if model else _place_of(name)
        else:
            path = Path(name)
        if path is None:
            found = locate(name, "dataset" if data else "model")
            self.commits[found.ref] = found.commit
            self._contents[name] = look_at_hub(found)
        elif is_stream(path):
            # Its content is not here to be hashed, and no later step can read it again.
            self._found[name] = f"{READ_ONCE} ({uuid.uuid4().hex})"
        else:
            self._contents[name] = _look_settled(path, {each.reads for each in uses})

    def _require_same(self, name: str) -> bool:
        """Whether an input was written to and has the same content.

        A change that leaves size and time of the content alone, as a further link to a file does,
        is none.

        Raises:
            WorkError: it has another content.
        """
        content, digest = self._contents[name], self[name]
        now = content.again()
        if not content.is_here:  # the step has fetched it
            self._found[name] = now.digest(anew=self._anew)
            return False
        changed = content.differing(now)
        if not changed:
            return False
        if content.files != now.files or now.digest() != digest:
            raise has_changed(changed[0])
        return any(now.found[key].stamp[:2] != was.stamp[:2] for key, was in content.found.items())

    def _work(self) -> None:
        try:
            for name, done in self._hashed.items():
                self._found[name] = self._contents[name].digest(anew=self._anew)
                done.set()
        except BaseException as problem:  # noqa: BLE001 - raised again where it is noticed
            self._problem = problem
            for done in self._hashed.values():
                done.set()


def _look_settled(path: Path, reads: Collection[Reads]) -> Content:
    """Look at an input when any further change of it would show in its files' times."""
    content = look(path, reads)
    wait = max((identity.settles_in for identity in content.found.values()), default=0)
    if not wait:
        return content
    time.sleep(wait)
    return content.again()


def _place_of(data: str) -> Path | None:
    found = here(data)
    return None if found is None else found.path


def _by_name(spec: Spec) -> dict[str, list[Input]]:
    """An input may be named by several keys, and be read in several ways."""
    found: dict[str, list[Input]] = {}
    for each in inputs_of(spec):
        found.setdefault(each.name, []).append(each)
    return found
