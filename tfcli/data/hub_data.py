"""A data set on the hub at one commit: what it has, and its files when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcli.errors import WorkError
from tfcli.hub import Located, cached_files, download, explained


@dataclass(frozen=True)
class HubData:
    """A data set on the hub of which the cache lacks something.

    Args:
        located: what was asked for, and what it means.
    """

    located: Located

    @property
    def names(self) -> Sequence[Path]:
        """Of the files of rows and of texts, and README.md."""
        return [Path(name) for name in self.located.choice.files]

    @property
    def folder(self) -> Path:
        """Where the hub's cache has its files, as far as they were fetched."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        found = self.located
        name = repo_folder_name(repo_id=found.ref.name, repo_type=found.ref.kind)
        return Path(constants.HF_HUB_CACHE) / name / "snapshots" / found.commit

    def take(self, names: Sequence[Path]) -> list[Path]:
        """Files in the hub's cache, fetched if they are not there.

        Raises:
            WorkError: access is refused, or the hub cannot be reached.
        """
        files = [name.as_posix() for name in names]
        folder = download(
            self.located.ref.name, self.located.commit, files=files, kind=self.located.ref.kind
        )
        return [folder / name for name in names]

    def shard(self, name: Path, size: int) -> Path:
        """One file for itself: that of the hub's cache, or fetched to where shards lie.

        They are kept apart from the hub's cache, where a data set of which parts are missing would
        count as a smaller one without the hub.

        Args:
            name: of the file.
            size: that it has.

        Raises:
            WorkError: access is refused, the hub cannot be reached, or gave another size.
        """
        cached = cached_files(self.located).get(name.as_posix())
        if cached is not None:
            return cached
        path = self.shards / name
        if not (path.is_file() and path.stat().st_size == size):
            download(
                self.located.ref.name,
                self.located.commit,
                files=[name.as_posix()],
                folder=self.shards,
                kind=self.located.ref.kind,
            )
        found = path.stat().st_size
        if found != size:
            raise WorkError(
                f"has {found:,} bytes, and the hub says {size:,}",
                where=str(path),
                fix="delete it and run it again",
            )
        return path

    @property
    def shards(self) -> Path:
        """Where files lie that were fetched one by one."""
        from huggingface_hub import constants

        name = self.located.ref.name.replace("/", "--")
        return Path(constants.HF_HOME) / "tfcli" / "shards" / name / self.located.commit

    def sizes(self) -> Mapping[str, int]:
        """The bytes of each file by its name, as the hub says them.

        Raises:
            WorkError: the hub cannot be reached, or does not say them.
        """
        from huggingface_hub import HfApi

        ref = self.located.ref
        with explained(ref.name, self.located.commit, kind=ref.kind):
            found: Any = HfApi().repo_info(
                ref.name,
                revision=self.located.commit,
                repo_type=ref.kind,
                files_metadata=True,
            )
        sizes = {each.rfilename: each.size for each in found.siblings or ()}
        known = {name: size for name, size in sizes.items() if size is not None}
        missing = [name for name in self.located.choice.files if name not in known]
        if missing:
            raise WorkError(
                f"the hub does not say how large {missing[0]} is",
                where=ref.name,
                fix="leave out stream",
            )
        return known
