"""What a model on the hub consists of, where its files are in the hub's cache.

The commit stands for all of them, as long as they are what the hub has under it: the cache names a
file after its hash, so that a damaged or edited one is noticed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tfcli.errors import WorkError
from tfcli.files import git_digest
from tfcli.hub import Located, cached_files
from tfcli.recipe.content import Content, observe, table_digest

# SHA-256, or git's hash of a file that the hub does not keep apart: those are small.
_HASH = re.compile("[0-9a-f]{64}|[0-9a-f]{40}")


@dataclass(frozen=True)
class HubContent(Content):
    """The files of a model or a data set on the hub, as far as they are in the cache.

    Args:
        located: what was asked for, and what it means.
    """

    located: Located

    @property
    def is_here(self) -> bool:
        """Whether the cache has all of them; of a data set only splits that were read are there."""
        return self.files.keys() == set(self.located.choice.files)

    def digest(self, *, anew: bool = False) -> str:
        """The commit, and the file that is meant where it is one; also the SHA-256 where the cache
        does not name files after their hashes.

        Args:
            anew: as of `Content`.

        Raises:
            WorkError: a file is not what the cache calls it, or not what it was.
        """
        opened = self.located.choice.opened
        text = f"commit {self.located.commit}" + (f", {opened}" if opened else "")
        unnamed = {}
        for name, digest in self.table(anew=anew).items():
            path = self.files[name]
            blob = path.resolve()
            if blob.parent.name != "blobs" or not _HASH.fullmatch(blob.name):
                unnamed[name] = digest
            elif blob.name != (digest if len(blob.name) == len(digest) else git_digest(blob)):
                raise WorkError(
                    "is not what the hub has: the file in the cache is damaged or was edited",
                    where=str(path),
                    fix=f"delete {blob} and run it again, or name a folder of your own",
                )
        # Of a part the commit alone is said: what else is fetched later makes it no other input.
        return f"{text}, sha256 {table_digest(unnamed)}" if unnamed and self.is_here else text


def look_at_hub(located: Located) -> HubContent:
    """Find the files of a model on the hub in the cache. Nothing is fetched."""
    seen = observe(lambda: cached_files(located))
    return HubContent(seen.list_files, seen.files, seen.found, located)
