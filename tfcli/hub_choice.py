"""Which files of a repository on the hub a model reference means.

A repository may hold one model in several containers, or several quantizations of it. Each
container declares in which files it is kept; the first that is there is taken, so that a model is
fetched once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Literal

from tfcli.errors import UsageError
from tfcli.tokenizers.files import COMPANIONS

_REF = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)"
    r"(?::(?P<part>\w[^:@]*))?(?:@(?P<revision>[\w./-]+))?(?::(?P<later>\w[^:@]*))?",
    re.ASCII,
)
_CONFIGS = ("config.json", "adapter_config.json")
SMALL = (*_CONFIGS, *COMPANIONS)
"""Patterns of the configs, and of what goes along with any checkpoint."""
_ADAPTERS = ("adapter_model.bin",)
# The weights as their authors first had them, beside a copy that everybody reads.
_COPIES = ("consolidated*",)
# A picture encoder or an importance matrix goes with a model and is none. A list of names tells no
# more; models that were made with such a matrix may say so, and say their quantization too.
_ENCODER = re.compile(r"(?:^|[-._/])mmproj", re.IGNORECASE)
_IMATRIX = re.compile(r"(?:^|[-._/])imatrix", re.IGNORECASE)
_PART_OF = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)")
_QUANTIZATION = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q\d\w*|TQ\d\w*|MXFP\d\w*|NVFP\d\w*|BF16|FP?16|FP?32))$",
    re.IGNORECASE,
)


RepositoryKind = Literal["model", "dataset"]


@dataclass(frozen=True)
class HubRef:
    """`org/name`, with `:part` and `@revision` where they are given.

    Args:
        name: of the repository.
        revision: a branch, tag or commit; None for the default branch.
        part: a file, or a quantization such as `Q4_K_M`; of data a configuration; None where
            nothing is chosen.
        kind: of the repository.
    """

    name: str
    revision: str | None = None
    part: str | None = None
    kind: RepositoryKind = "model"


@dataclass(frozen=True)
class Choice:
    """What of a repository is fetched.

    Args:
        files: the names.
        opened: the one that is opened; None for the folder.
    """

    files: tuple[str, ...]
    opened: str | None = None


def parse_ref(text: str) -> HubRef | None:
    """What a text says of a repository; None if it cannot be a hub id."""
    found = _REF.fullmatch(text)
    if found is None or (found["part"] and found["later"]):
        return None
    return HubRef(found["name"], found["revision"], found["part"] or found["later"])


def choose(names: Iterable[str], ref: HubRef) -> Choice:
    """The files to fetch.

    Args:
        names: all that the repository holds.
        ref: what was asked for.

    Raises:
        UsageError: no such part, or several models and no word of which.
    """
    names = sorted(names)
    weights, opened = _weights(names, ref)
    return Choice(tuple(dict.fromkeys((*small_files(names), *weights))), opened)


def small_files(names: Iterable[str]) -> list[str]:
    """The configs, and what goes along with any checkpoint."""
    return _fitting(names, SMALL)


def _weights(names: Sequence[str], ref: HubRef) -> tuple[list[str], str | None]:
    from tfcli.checkpoints.gguf.container import GGUF
    from tfcli.checkpoints.hf.container import HF
    from tfcli.checkpoints.meta.container import META
    from tfcli.checkpoints.original.container import ORIGINAL
    from tfcli.checkpoints.torch.container import PT

    models = _models(names)
    if ref.part is not None:
        if ref.part in names and not any(ref.part in parts for parts in models.values()):
            return [ref.part], ref.part
        return _one(_asked(models, ref.part), models, ref)
    for container in (HF, PT, GGUF, META, ORIGINAL):
        if container is GGUF:
            if models:
                return _one(models, models, ref)
            continue
        found = _fitting(names, container.files)
        if container is HF:
            found = [name for name in found if not _fits(name, _COPIES)]
        if container is PT:
            found += _fitting(names, _ADAPTERS)
        if found:
            return found, None
    return [], None


def _models(names: Iterable[str]) -> dict[str, list[str]]:
    """The GGUF models of a repository: what their parts have in common -> the parts, in order."""
    found: dict[str, list[str]] = {}
    for name in names:
        if name.endswith(".gguf") and _is_model(name):
            found.setdefault(_PART_OF.sub("", name), []).append(name)
    return found


def _is_model(name: str) -> bool:
    """Whether a GGUF file's name is that of a model."""
    if _ENCODER.search(name):
        return False
    stem = _PART_OF.sub("", name).removesuffix(".gguf")
    return _IMATRIX.search(name) is None or _QUANTIZATION.search(stem) is not None


def _asked(models: dict[str, list[str]], part: str) -> dict[str, list[str]]:
    """The models that a file's name or a quantization means; the exact word counts first."""
    files = {key: parts for key, parts in models.items() if part == key or part in parts}
    exact = {key: parts for key, parts in models.items() if _label(key).lower() == part.lower()}
    end = re.compile(rf"(?:^|[-._/]){re.escape(part)}$", re.IGNORECASE)
    ends = {key: parts for key, parts in models.items() if end.search(key.removesuffix(".gguf"))}
    return files or exact or ends


def _one(
    found: dict[str, list[str]], models: dict[str, list[str]], ref: HubRef
) -> tuple[list[str], str]:
    if len(found) == 1:
        parts = next(iter(found.values()))
        return parts, parts[0]
    shown = ", ".join(sorted({_label(key) for key in (found or models)}))
    if found:
        raise UsageError(
            f"{ref.name} holds {len(found)} models: {shown}",
            fix=f"name one of them: {ref.name}:{_label(next(iter(found)))}",
        )
    raise UsageError(
        f"{ref.name} has no file and no quantization {ref.part!r}",
        fix=f"it has {shown}" if models else "name a file of it; tfcli hub list shows them",
    )


def _label(key: str) -> str:
    """The quantization that a file's name ends in; the name where it tells none."""
    found = _QUANTIZATION.search(key.removesuffix(".gguf"))
    return key if found is None else found[1]


def _fitting(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    return [name for name in names if _fits(name, patterns)]


def _fits(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name is of a pattern, whose `*` stays in its folder."""
    parts = PurePosixPath(name).parts
    for pattern in patterns:
        wanted = PurePosixPath(pattern).parts
        if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted)):
            return True
    return False
