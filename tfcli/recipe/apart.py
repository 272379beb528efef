"""An output and what is read for it lie apart: neither is the other, holds it or lies in it.

Otherwise replacing the output would delete its own source, and an output in its source would be
read by the next run. Folders are compared by what they are on the disk and not by how they are
spelt: through links, through `..`, and where a file system takes `Run` and `run` for one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfcli.errors import UsageError, raise_found
from tfcli.files import expanded
from tfcli.hub_choice import parse_ref
from tfcli.recipe.place import Place
from tfcli.recipe.spec import READ, Spec, paths_with_role

_Identity = tuple[int, int] | str


def check_apart(spec: Spec, outputs: Sequence[str], *, coming: Sequence[str] = ()) -> None:
    """Refuse a spec with an input that an output is, holds or lies in, before any work.

    Args:
        outputs: the folders that are made: the spec's own, and those of the recipe's other steps.
        coming: those of earlier steps, in which inputs may lie.

    Raises:
        UsageError: naming the key of the input.
    """
    raise_found(list(overlaps(spec, outputs, coming=coming)))


def overlaps(
    spec: Spec | dict[str, object],
    outputs: Sequence[str],
    *,
    coming: Sequence[str] = (),
    cls: type[Spec] | None = None,
) -> Iterator[UsageError]:
    """An error for each input that does not lie apart from an output.

    Args:
        spec: the spec, or values of the class `cls` that are not one yet.
        outputs, coming: see `check_apart`.
    """
    if not outputs:
        return
    made = [(output, _chain(Place.of(output).output), _owned(output)) for output in outputs]
    earlier = {_chain(Place.of(output).output)[0] for output in coming}
    inputs = [pair for role in READ for pair in paths_with_role(spec, role, cls)]
    for key, value in inputs:
        read = [_chain(path) for path in _reached(value)]
        if any(not earlier.isdisjoint(chain) for chain in read):
            continue
        for output, chain, owned in made:
            how = _relation(read, chain, owned)
            if how:
                yield UsageError(
                    f"the output {output} {how} {value}, which is read",
                    where=key,
                    fix="choose an output that lies beside what is read",
                    code="output.overlaps",
                )


def _relation(
    read: list[list[_Identity]], output: list[_Identity], owned: set[_Identity]
) -> str | None:
    if any(output[0] == chain[0] for chain in read):
        return "is"
    if any(not owned.isdisjoint(chain) for chain in read):
        return "holds"
    if any(chain[0] in output for chain in read):
        return "lies in"
    return None


def _owned(output: str) -> set[_Identity]:
    """The output's folder and the hidden ones beside it, which are replaced with it."""
    place = Place.of(output)
    return {_identity(path) for path in (place.output, place.partial, place.old)}


def _chain(path: Path) -> list[_Identity]:
    """What a path is, and what it lies in."""
    return [_identity(each) for each in (path, *path.parents)]


def _identity(path: Path) -> _Identity:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return str(path)  # what is not there yet has its name alone
    return found.st_dev, found.st_ino


def _reached(value: str) -> Iterator[Path]:
    """The absolute paths of what an input names: itself, what links lead to, a hub's cache."""
    path = _local(value)
    if path is None:
        return
    yield Path(os.path.realpath(path.parent), path.name)
    real = Path(os.path.realpath(path))
    yield real
    for root, folders, names in os.walk(real):
        for name in (*folders, *names):
            inner = Path(root, name)
            if inner.is_symlink():
                yield Path(os.path.realpath(inner))


def _local(value: str) -> Path | None:
    """Where an input lies on this machine; for a model of the hub, the cache's folder of it."""
    path = expanded(value)
    if os.path.lexists(path):
        return path
    asked = parse_ref(value)
    if asked is None:
        return path
    from huggingface_hub import constants

    cached = Path(constants.HF_HUB_CACHE, "models--" + asked.name.replace("/", "--"))
    return cached if cached.is_dir() else path
