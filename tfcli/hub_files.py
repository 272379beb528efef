"""Files of a hub repository: list them, fetch them, send them. The hub's own client does the work.

A branch is turned into a commit first, so that all files are of one commit, and the result says of
which. Interrupted transfers go on where they stopped: the client keeps what has arrived, and what
the hub has already is not sent again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.errors import UsageError, WorkError
from tfcli.files import digest_file, git_digest, inside
from tfcli.hub import explained
from tfcli.hub_results import HubDownloadResult, HubFile, HubListResult, HubUploadResult
from tfcli.recipe.record import RECORD

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

LEFT_OUT = [".*", "*/.*", RECORD]
"""What an upload without --include leaves out: hidden files, and the record, which names paths and
the machine."""


def split_ref(ref: str) -> tuple[str, str | None]:
    """`org/name@revision` as the id and the revision, or None for the default branch."""
    name, _, revision = ref.partition("@")
    if not name or "@" in revision:
        raise UsageError(f"{ref!r} is no hub id", fix="write org/name or org/name@revision")
    return name, revision or None


def list_files(ref: str, include: list[str], exclude: list[str]) -> HubListResult:
    """The files of a repository at one commit.

    Raises:
        UsageError: no such repository or revision, or nothing fits the patterns.
        WorkError: access is refused, the hub cannot be reached, or offline mode is on.
    """
    return _list(ref, include, exclude)[0]


def _list(
    ref: str, include: list[str], exclude: list[str]
) -> tuple[HubListResult, dict[str, RepoFile]]:
    """The listing, and what the hub says of each file: by name."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    name, revision = split_ref(ref)
    with explained(name, revision, "listed"):
        commit = HfApi().model_info(name, revision=revision).sha
        tree = list(HfApi().list_repo_tree(name, recursive=True, revision=commit))
    found = {item.path: item for item in tree if isinstance(item, RepoFile)}
    files = _chosen({path: item.size for path, item in found.items()}, include, exclude, ref)
    listed = HubListResult(repo=name, commit=str(commit), files=files, bytes=_total(files))
    return listed, {file.name: found[file.name] for file in files}


def download_files(
    ref: str, folder: Path | None, include: list[str], exclude: list[str]
) -> HubDownloadResult:
    """Fetch files at one commit, into a folder or the hub's cache.

    Offline, the cache is asked alone, and only for what a folder of it can answer.

    Raises:
        UsageError: no such repository or revision, nothing fits the patterns, or a file would be
            written over that no download left as it is.
        WorkError: access is refused, a full disk, the hub cannot be reached, or offline mode is on
            and the cache lacks the repository.
    """
    from huggingface_hub import constants, snapshot_download

    name, revision = split_ref(ref)
    offline = constants.HF_HUB_OFFLINE
    if offline and folder is not None:
        raise WorkError(
            f"{ref} could not be downloaded: offline mode is on",
            fix="unset HF_HUB_OFFLINE; or leave the folder out to use the cache",
        )
    listed, said = (None, {}) if offline else _list(ref, include, exclude)
    if folder is not None:
        _refuse_users_files(folder, said)
    with explained(name, revision):
        found = Path(
            snapshot_download(
                name,
                revision=revision if listed is None else listed.commit,
                local_dir=folder,
                allow_patterns=include or None,
                ignore_patterns=exclude or None,
            )
        )
    if listed is None:
        files, commit = _chosen(_sizes(found), include, exclude, ref), found.name
    else:
        files, commit = listed.files, listed.commit
    return HubDownloadResult(
        repo=name, commit=commit, files=files, bytes=_total(files), folder=str(found)
    )


def _refuse_users_files(folder: Path, said: Mapping[str, RepoFile]) -> None:
    """Refuse to write over a file that no download left as it is, before anything is fetched."""
    for name, item in said.items():
        path = inside(folder, name)
        if os.path.lexists(path) and not _was_downloaded(folder, name) and not _is(path, item):
            raise UsageError(
                f"{path} is there, and no download left it as it is",
                where="folder",
                fix="move it elsewhere, leave it out with --exclude, or choose another folder",
                code="output.not_empty",
            )


def _was_downloaded(folder: Path, name: str) -> bool:
    """Whether the hub's client fetched a file, and nobody has changed it since."""
    from huggingface_hub._local_folder import read_download_metadata

    notes = folder / ".cache/huggingface"  # the client makes it where it is not
    return notes.is_dir() and read_download_metadata(folder, name) is not None


def _is(path: Path, item: RepoFile) -> bool:
    """Whether a file is that of the hub, bit for bit."""
    if not path.is_file() or path.stat().st_size != item.size:
        return False
    if item.lfs is not None:
        return digest_file(path) == item.lfs.sha256
    return git_digest(path) == item.blob_id


def upload_folder(
    folder: Path,
    ref: str,
    include: list[str],
    exclude: list[str],
    *,
    message: str,
    create: bool = False,
    private: bool = False,
) -> HubUploadResult:
    """Send the files of a folder as one commit on a branch.

    Args:
        folder: what to send.
        ref: `org/name`, or `org/name@branch`.
        include: patterns of names; without any, all but LEFT_OUT.
        exclude: patterns of names that stay here.
        message: of the commit.
        create: make the repository where there is none.
        private: make it a private one.

    Raises:
        UsageError: no such folder or repository, or nothing fits the patterns.
        WorkError: access is refused, the hub cannot be reached, offline mode is on, or a file is
            a link that leads out of the folder.
    """
    from huggingface_hub import HfApi

    name, branch = split_ref(ref)
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", where="folder")
    left = exclude if include else [*exclude, *LEFT_OUT]
    files = _chosen(_sizes(folder), include, left, str(folder))
    for file in files:
        inside(folder, file.name)  # a link that leads out of the folder is not followed
    with explained(name, branch, "uploaded"):
        missing = create and not HfApi().repo_exists(name)
        if missing:
            HfApi().create_repo(name, private=private, exist_ok=True)
        done = HfApi().upload_folder(
            repo_id=name,
            folder_path=folder,
            revision=branch,
            commit_message=message,
            allow_patterns=[file.name for file in files],
        )
    return HubUploadResult(
        repo=name,
        commit=done.oid,
        files=files,
        bytes=_total(files),
        folder=str(folder),
        created=missing,
    )


def require_uploads(ref: str) -> None:
    """Refuse a repository that nothing can be sent to, before the work whose result goes there.

    Raises:
        UsageError: no hub id, or nobody is logged in.
        WorkError: the hub cannot be reached, or offline mode is on.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.utils import validate_repo_id

    name, branch = split_ref(ref)
    if get_token() is None:
        raise UsageError(
            f"nobody is logged in who could send files to {name}",
            where="--push-to-hub",
            fix="hf auth login, or set HF_TOKEN",
        )
    with explained(name, branch, "uploaded"):
        validate_repo_id(name)
        HfApi().whoami()


def _sizes(folder: Path) -> dict[str, int]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


def _chosen(
    sizes: dict[str, int], include: list[str], exclude: list[str], ref: str
) -> list[HubFile]:
    from huggingface_hub.utils import filter_repo_objects

    names = filter_repo_objects(
        sorted(sizes), allow_patterns=include or None, ignore_patterns=exclude or None
    )
    files = [HubFile(name=name, bytes=sizes[name]) for name in names]
    if not files:
        raise UsageError(f"no file of {ref} fits", where="include", fix="loosen the patterns")
    return files


def _total(files: list[HubFile]) -> int:
    return sum(file.bytes for file in files)
