"""From what a user writes for a model to a folder: a local path, or a snapshot of the hub.

The hub's own client does the downloading: its cache, its token, its offline mode
(`HF_HUB_OFFLINE=1`). Only files that are read are fetched: never code, and pickled
weights, which are read without running anything, only from a model that has no others.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfcli.errors import UsageError, WorkError
from tfcli.tokenizers.files import COMPANIONS

_FETCH = [
    "config.json",
    "adapter_config.json",
    *COMPANIONS,
    "*.safetensors",
    "*.safetensors.index.json",
]
_FETCH_PICKLED = ["pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json"]
# Other formats' copies of the same weights lie in folders, and the hub's `*` reaches into them.
# Folders of modules, such as 2_Dense, are not among these.
_LEAVE = [
    "consolidated*",
    *(
        f"{folder}/{name}"
        for name in _FETCH
        if "*" in name and "/" not in name
        for folder in ("[!1-9]*", "[1-9][!_]*")
    ),
]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?(?:@[\w./-]+)?", re.ASCII)
_FILE_ENDINGS = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt", ".json", ".yaml", ".yml")


def resolve(ref: str | Path) -> Path:
    """The local folder or file of a model reference.

    Args:
        ref: a folder, a file, or a hub id `name` or `org/name`, with `@revision` (a branch, tag or
            commit) if wanted. What exists here wins.

    Returns:
        The path as given, or the folder of the hub's cache, which is named by its commit.

    Raises:
        UsageError: neither here nor a hub id, or the hub has no such model or revision.
        WorkError: access is refused, or the hub cannot be reached and the cache lacks the model.
    """
    path = Path(ref).expanduser()
    text = str(ref)
    if text.strip() and path.exists():
        return path
    if isinstance(ref, Path) or not _HUB_ID.fullmatch(text) or text.endswith(_FILE_ENDINGS):
        raise UsageError(
            f"there is no such file or folder: {text}",
            fix="name a checkpoint folder, or a hub id such as org/name or org/name@revision",
        )
    name, _, revision = text.partition("@")
    found = download(name, revision or None)
    if not any(found.glob("*.safetensors")):
        found = download(name, revision or None, files=_FETCH_PICKLED)
    return found


def download(
    name: str,
    revision: str | None = None,
    *,
    files: list[str] | None = None,
    folder: Path | None = None,
) -> Path:
    """Fetch files of a model from the hub.

    Args:
        name: the hub id.
        revision: a branch, tag or commit; None: main.
        files: patterns of their names; None: what a checkpoint needs.
        folder: where they go; None: into the hub's cache.

    Returns:
        The folder they are in.

    Raises:
        UsageError: the hub has no such model or revision.
        WorkError: access is refused, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    with explained(name, revision):
        found = snapshot_download(
            name,
            revision=revision,
            allow_patterns=_FETCH if files is None else files,
            ignore_patterns=_LEAVE,
            local_dir=folder,
        )
    return Path(found)


@contextmanager
def explained(name: str, revision: str | None, doing: str = "downloaded") -> Iterator[None]:
    """Turn what the hub's client raises inside the block into errors that a person can act on.

    Args:
        name: the hub id.
        revision: the branch, tag or commit that was asked for, or None.
        doing: what was to be done with it, for an error in the middle.
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
            f"{name} is neither a folder here nor a model on the hub that you can see",
            fix="check the spelling; for a private model, log in with `hf auth login`",
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
