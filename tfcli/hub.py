"""From what a user writes for a model to a folder: a local path, or a snapshot of the hub.

The hub's own client does the downloading: its cache, its token, its offline mode
(`HF_HUB_OFFLINE=1`). Only files that are read are fetched: never code, and pickled
weights, which are read without running anything, only from a model that has no others.
"""

from __future__ import annotations

import errno
import glob
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfcli.errors import UsageError, WorkError
from tfcli.files import expanded
from tfcli.hub_choice import Choice, HubRef, RepositoryKind, choose, parse_ref

_FILE_ENDINGS = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt", ".json", ".yaml", ".yml")
_WORDS: dict[RepositoryKind, str] = {"model": "model", "dataset": "data set"}
_DATA_ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".arrow", ".txt", ".md", ".rst")
_EXPECTED: dict[HubRef, str] = {}  # reference -> the commit that the running step has recorded


def resolve(ref: str | Path, kind: RepositoryKind = "model") -> Path:
    """The local folder or file of a reference to a model, or to a data set.

    Args:
        ref: a folder, a file, or a hub id `name` or `org/name`. The id may name a file of it or a
            quantization, as in `org/name:Q4_K_M`, and a branch, tag or commit, as in
            `org/name@revision`. What exists here wins.
        kind: what is meant. Of a data set the folder is given, and what is behind the colon is a
            configuration of it.

    Returns:
        The path as given; or the folder of the hub's cache, which its commit names, or a file in
        it.

    Raises:
        UsageError: neither here nor a hub id, the hub has no such model, revision or part, or it
            holds several and none is named.
        WorkError: access is refused, or the hub cannot be reached and the cache lacks the model.
    """
    path = local_path(ref)
    if path is not None:
        return path
    asked = _required(ref, kind)
    choice = _choice(names_of(asked), asked)
    folder = download(asked.name, asked.revision, files=choice.files, kind=kind)
    require_expected(asked, folder.name)
    return folder if choice.opened is None else folder / choice.opened


def require_expected(asked: HubRef, commit: str) -> None:
    """See to it that a reference means the commit that the running step has recorded.

    Raises:
        WorkError: it means another one by now.
    """
    expected = _EXPECTED.get(asked, commit)
    if commit != expected:
        raise WorkError(
            f"{asked.name} changed on the hub meanwhile, from commit {expected} to {commit}",
            fix=f"run it again, or name the commit: {asked.name}@{commit}",
        )


def local_path(ref: str | Path) -> Path | None:
    """What a reference means here, a leading `~` resolved; None: nothing here."""
    try:
        path = expanded(ref)
        return path if str(ref).strip() and path.exists() else None
    except ValueError:  # a name that no file can have
        return None


@dataclass(frozen=True)
class Located:
    """What a reference means on the hub now.

    Args:
        ref: the reference.
        commit: what its revision is.
        choice: the files that it means.
    """

    ref: HubRef
    commit: str
    choice: Choice


def locate(ref: str, kind: RepositoryKind = "model") -> Located:
    """Find out what a reference to the hub means. Of a data set README.md is fetched, which may
    say which files it has.

    Raises:
        UsageError, WorkError: as `resolve`.
    """
    asked = _required(ref, kind)
    commit, names = _listing(asked)
    return Located(asked, commit, _choice(names, asked))


def _choice(names: list[str], asked: HubRef) -> Choice:
    """The files that a reference means."""
    if asked.kind == "model":
        return choose(names, asked)
    from tfcli.data.hub_files import README, data_choice

    readme = None
    if README in names:
        folder = download(asked.name, asked.revision, files=[README], kind=asked.kind)
        readme = (folder / README).read_text(encoding="utf-8", errors="replace")
    return data_choice(names, asked, readme)


def cached_files(located: Located) -> dict[str, Path]:
    """Those of the files that a reference means which the cache has, by name."""
    from huggingface_hub import try_to_load_from_cache

    found = {}
    for name in located.choice.files:
        path = try_to_load_from_cache(
            located.ref.name, name, revision=located.commit, repo_type=located.ref.kind
        )
        if isinstance(path, str):
            found[name] = Path(path)
    return found


@contextmanager
def expecting(commits: Mapping[HubRef, str]) -> Iterator[None]:
    """See to it that references mean these commits, inside the block, whenever one is resolved."""
    before = dict(_EXPECTED)
    _EXPECTED.update(commits)
    try:
        yield
    finally:
        _EXPECTED.clear()
        _EXPECTED.update(before)


def _required(ref: str | Path, kind: RepositoryKind) -> HubRef:
    asked = hub_ref(ref, kind)
    if asked is None:
        raise UsageError(
            f"there is no such file or folder: {ref}",
            fix="name a checkpoint folder, or a hub id such as org/name, org/name@revision or "
            "org/name:Q4_K_M",
        )
    return asked


def hub_ref(ref: str | Path, kind: RepositoryKind = "model") -> HubRef | None:
    """What a reference to nothing that is here says of the hub; None if it is a path."""
    asked = None if isinstance(ref, Path) else parse_ref(ref)
    if kind == "dataset":
        is_id = asked is not None and "/" in asked.name and not asked.name.endswith(_DATA_ENDINGS)
        return replace(asked, kind=kind) if asked is not None and is_id else None
    if asked is None or (asked.part is None and ref.endswith(_FILE_ENDINGS)):  # type: ignore[union-attr]
        return None
    return asked


def names_of(ref: HubRef) -> list[str]:
    """The names of a repository's files; without the hub, of those that the cache holds.

    Raises:
        UsageError: the hub has no such model or revision.
        WorkError: access is refused, or the hub cannot be reached and the cache lacks the model.
    """
    return _listing(ref)[1]


def _listing(ref: HubRef) -> tuple[str, list[str]]:
    """The commit that a reference means, and the names of its files."""
    from huggingface_hub import HfApi, constants, errors, snapshot_download

    with explained(ref.name, ref.revision, kind=ref.kind):
        if not constants.HF_HUB_OFFLINE:
            try:
                # One request without retries; listing the tree tries for half a minute.
                found: Any = HfApi().repo_info(
                    ref.name, revision=ref.revision or "main", repo_type=ref.kind
                )
                return str(found.sha), [sibling.rfilename for sibling in found.siblings or ()]
            except (errors.HTTPError, OSError) as error:
                # What the hub refuses is its answer; where there is none, the cache is asked.
                response = getattr(error, "response", None)
                if response is not None and response.status_code < 500:
                    raise
        # Without patterns, the client asks for all files of the repository.
        cached = snapshot_download(
            ref.name,
            revision=ref.revision,
            repo_type=ref.kind,
            allow_patterns=[],
            local_files_only=True,
        )
    folder = Path(cached)
    return folder.name, [
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    ]


def download(
    name: str,
    revision: str | None = None,
    *,
    files: Iterable[str],
    folder: Path | None = None,
    kind: RepositoryKind = "model",
) -> Path:
    """Fetch files of a repository from the hub.

    Args:
        name: the hub id.
        revision: a branch, tag or commit; None: main.
        files: their names.
        folder: where they go; None: into the hub's cache.
        kind: of the repository.

    Returns:
        The folder they are in.

    Raises:
        UsageError: the hub has no such model or revision.
        WorkError: access is refused, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    with explained(name, revision, kind=kind):
        found = snapshot_download(
            name,
            revision=revision,
            repo_type=kind,
            allow_patterns=[glob.escape(file) for file in files],
            local_dir=folder,
        )
    return Path(found)


@contextmanager
def explained(
    name: str,
    revision: str | None,
    doing: str = "downloaded",
    kind: RepositoryKind = "model",
) -> Iterator[None]:
    """Turn what the hub's client raises inside the block into errors that a person can act on.

    Args:
        name: the hub id.
        revision: the branch, tag or commit that was asked for, or None.
        doing: what was to be done with it, for an error in the middle.
        kind: of the repository.
    """
    from huggingface_hub import errors

    shown = f"{name}@{revision}" if revision else name
    try:
        yield
    # The client's own messages are not passed on: they hold addresses and request details.
    except errors.GatedRepoError:
        raise WorkError(
            f"the hub does not give you access to {shown}",
            fix="accept its terms on its page on the hub, then log in with `hf auth login`",
        ) from None
    except errors.RepositoryNotFoundError:
        raise UsageError(
            f"{name} is neither a folder here nor a {_WORDS[kind]} on the hub that you can see",
            fix=f"check the spelling; for a private {_WORDS[kind]}, log in with `hf auth login`",
        ) from None
    except errors.RevisionNotFoundError:
        raise UsageError(
            f"{name} has no revision {revision or 'main'} on the hub",
            fix="give a branch, a tag or a full commit hash",
        ) from None
    except errors.HFValidationError:
        raise UsageError(
            f"{name} is neither a folder here nor a possible hub id", fix="write org/name"
        ) from None
    except errors.LocalEntryNotFoundError:
        raise _not_cached(shown) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise WorkError(
            f"the hub answered {status} for {shown}",
            fix="log in again with `hf auth login`" if status in (401, 403) else "try again later",
        ) from None
    except errors.OfflineModeIsEnabled:
        raise WorkError(
            f"{shown} could not be {doing}: offline mode is on", fix="unset HF_HUB_OFFLINE"
        ) from None
    except (errors.HTTPError, OSError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        raise WorkError(
            f"{shown} could not be {doing}: "
            + ("the disk is full" if full else type(error).__name__),
            fix="make room, or set HF_HOME to a larger disk"
            if full
            else "run it again; what has arrived is kept",
        ) from None


def _not_cached(shown: str) -> WorkError:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return WorkError(
            f"{shown} is not a folder here and not complete in the hub's cache, "
            "and offline mode is on",
            fix="unset HF_HUB_OFFLINE once to download it, or name a folder",
        )
    return WorkError(
        f"{shown} is not a folder here and not complete in the hub's cache, "
        "and the hub cannot be reached",
        fix="check the spelling and the network, or name a folder",
    )
