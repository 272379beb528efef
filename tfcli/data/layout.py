"""Which files of a data set are read: those of a configuration and a split.

A folder may be laid out as data sets on the hub are: its README.md names the files of each
configuration and split, or files and folders are named after them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tfcli.data.hub_data import HubData
from tfcli.errors import UsageError, hint
from tfcli.hub import cached_files, hub_ref, local_path, locate, require_expected

SPLITS = ("train", "validation", "test")
README = "README.md"
_FRONT = re.compile(r"\A\ufeff?---\r?\n(.*?)\r?\n---", re.DOTALL)
_MOST = 4 << 20  # characters of a README.md


@dataclass(frozen=True)
class DataPlace:
    """Where data lie.

    Args:
        path: a file or a folder here; of a data set on the hub its folder in the hub's cache.
        config: the configuration that is meant; None where none is named.
        hub: fetches what the cache lacks; None where nothing is to be fetched.
    """

    path: Path
    config: str | None = None
    hub: HubData | None = None

    @property
    def is_folder(self) -> bool:
        """Whether there may be several files."""
        return self.hub is not None or self.path.is_dir()

    def names(self) -> list[Path]:
        """The files of a folder by their names in it, sorted, but those that begin with a dot,
        which systems and tools keep for themselves."""
        if self.hub is not None:
            return sorted(self.hub.names)
        inside = [each.relative_to(self.path) for each in self.path.rglob("*") if each.is_file()]
        return sorted(each for each in inside if not any(part[0] == "." for part in each.parts))

    def take(self, names: Sequence[Path]) -> list[Path]:
        """The paths of files of a folder, which are fetched where they are not here.

        Raises:
            WorkError: the hub cannot be reached.
        """
        return [self.path / name for name in names] if self.hub is None else self.hub.take(names)


def here(ref: Path | str) -> DataPlace | None:
    """The file or folder of a reference, where it is here: a path, or that of a folder with
    `:config` behind it."""
    path = local_path(ref)
    if path is not None:
        return DataPlace(path)
    folder, _, config = str(ref).rpartition(":")
    path = local_path(folder) if folder and "/" not in config else None
    return DataPlace(path, config) if config and path is not None and path.is_dir() else None


def find_data(ref: Path | str) -> DataPlace:
    """The file or folder of a reference. Of a data set on the hub README.md alone is fetched.

    Args:
        ref: a path, perhaps with `:config`, or a hub id `org/name[:config][@revision]`.

    Raises:
        UsageError: neither here nor a hub id, or the hub has no such data set or revision.
        WorkError: access is refused, or the hub cannot be reached and the cache lacks the files.
    """
    found = here(ref)
    if found is not None:
        return found
    asked = hub_ref(ref, "dataset")
    if asked is None:
        raise UsageError(f"there is no such file or folder: {ref}", where="data")
    located = locate(str(ref), "dataset")
    require_expected(asked, located.commit)
    data = HubData(located)
    complete = cached_files(located).keys() == set(located.choice.files)
    return DataPlace(data.folder, asked.part, None if complete else data)


def files_of(
    names: Sequence[Path], split: str | None, place: DataPlace, readme: str | None = None
) -> list[Path]:
    """The files of a configuration and a split.

    Args:
        names: of all files in the folder.
        split: which of the splits; None for all.
        place: the folder, and the configuration.
        readme: its README.md; left out, the file there.

    Raises:
        UsageError: there are splits or configurations, and not the one that is asked for, or
            several and none is.
    """
    if readme is None:
        readme = _read(place.path / README)
    declared = configs(readme)
    if declared:
        return _declared(names, split, place, declared)
    if place.config is None:
        return of_split(names, split, place.path)
    inside = [name for name in names if place.config in name.parts[:-1]]
    if not inside:
        folders = sorted({part for name in names for part in name.parts[:-1]})
        raise UsageError(
            f"there is no configuration {place.config!r}",
            where=str(place.path),
            fix=hint(place.config, folders),
        )
    return of_split(inside, split, place.path)


def _declared(
    names: Sequence[Path], split: str | None, place: DataPlace, declared: Mapping[str, Any]
) -> list[Path]:
    """The files that README.md names."""
    first = next(iter(declared))
    config = place.config or ("default" if "default" in declared else first)
    if place.config is None and len(declared) > 1 and config != "default":
        raise UsageError(
            f"there are {len(declared)} configurations: {', '.join(declared)}",
            where=str(place.path),
            fix=f"name one of them behind a colon, as in :{first}",
        )
    if config not in declared:
        raise UsageError(
            f"there is no configuration {config!r}",
            where=str(place.path),
            fix=hint(config, declared),
        )
    splits = declared[config]
    if None in splits:
        return of_split(_matching(names, splits[None]), split, place.path)
    if split is not None and split not in splits:
        raise _no_split(split, splits, place.path)
    wanted = splits if split is None else [split]
    return [name for each in wanted for name in _matching(names, splits[each])]


def configs(readme: str | None) -> dict[str, dict[str | None, list[str]]]:
    """What a README.md says of files: configuration -> split -> patterns. Patterns of all splits
    together stand under None."""
    found = _FRONT.match(readme or "")
    try:
        values = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        return {}
    listed = values.get("configs") if isinstance(values, dict) else None
    made: dict[str, dict[str | None, list[str]]] = {}
    known = listed if isinstance(listed, list) else []
    for each in known:
        if isinstance(each, dict) and "data_files" in each:
            splits: dict[str | None, list[str]] = {}
            for key, patterns in _splits(each["data_files"]):
                splits.setdefault(key, []).extend(patterns)
            name = str(each.get("config_name", "default"))
            made[name] = splits
    return made


def _splits(value: Any) -> list[tuple[str | None, list[str]]]:
    if isinstance(value, str):
        return [(None, [value])]
    if isinstance(value, dict):
        return [(str(split), _texts(paths)) for split, paths in value.items()]
    found: list[tuple[str | None, list[str]]] = []
    for each in value if isinstance(value, list) else ():
        if isinstance(each, dict):
            found.append((str(each.get("split", "train")), _texts(each.get("path"))))
        else:
            found.append((None, _texts(each)))
    return found


def _texts(value: Any) -> list[str]:
    return [str(each) for each in (value if isinstance(value, list) else [value])]


def _matching(names: Sequence[Path], patterns: Sequence[str]) -> list[Path]:
    """The names that a pattern has, in which `*` stays in its folder and `**` does not."""
    fits = [re.compile(_regex(PurePosixPath(pattern).as_posix())) for pattern in patterns]
    return [name for name in names if any(each.fullmatch(name.as_posix()) for each in fits)]


def _regex(pattern: str) -> str:
    parts = re.split(r"(\*\*/?|\*|\?)", pattern)
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(wild.get(part) or re.escape(part) for part in parts)


def of_split(names: Sequence[Path], split: str | None, folder: Path) -> list[Path]:
    """The files of a split where some, or the folders that they are in, are named after splits;
    else all of them.

    Args:
        names: of the files in `folder`.
        split: which of the splits; None for all.

    Raises:
        UsageError: there are splits, and not this one.
    """
    splits = [_split_of(name, split) for name in names]
    if split is None or not (any(splits) or split not in SPLITS):
        return list(names)
    found = [name for name, each in zip(names, splits, strict=True) if each == split]
    if not found:
        raise _no_split(split, dict.fromkeys(filter(None, splits)), folder)
    return found


def _no_split(split: str, known: Any, folder: Path) -> UsageError:
    named = ", ".join(map(str, known))
    return UsageError(
        f"the folder has no {split}.jsonl, nor other files of a split {split!r}",
        where=str(folder),
        fix=f"its splits are {named}" if named else "leave the split out: it has none",
    )


def _split_of(name: Path, asked: str | None) -> str | None:
    """The split that a file or a folder that it is in is named after."""
    heads = [word.split(".")[0].split("-")[0] for word in (*name.parts[:-1], name.name)]
    return next((head for head in heads if head in (*SPLITS, asked)), None)


def _read(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(_MOST)
