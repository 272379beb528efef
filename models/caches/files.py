"""Caches in files: a prefix is read once, and texts that begin with it go on from there.

A file is safetensors: tensors named `layer.slot.name`, and in its metadata the number of positions
and the form of each store (see `Store.form`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tfcli.models.caches.stores import Store
from tfcli.models.errors import ModelError

_FORMAT = "tfcli.cache/1"
_OWN = ("format", "length", "forms")

Slot = tuple[int, str]


@dataclass(frozen=True)
class Content:
    """What a file holds: positions, tensors by slot and name, and what else was said."""

    length: int
    tensors: dict[Slot, dict[str, torch.Tensor]]
    notes: dict[str, str]


def write_cache(
    path: Path, stores: Mapping[Slot, Store], length: int, notes: Mapping[str, str]
) -> None:
    """See `Cache.save`."""
    for name in notes:
        if name in _OWN:
            raise ModelError(f"a note cannot be called {name!r}", fix="give it another name")
    tensors = {
        f"{_spelled(slot)}.{name}": tensor.detach().contiguous()
        for slot, store in stores.items()
        for name, tensor in store.content().items()
    }
    forms = {_spelled(slot): store.form for slot, store in stores.items()}
    own = {"format": _FORMAT, "length": str(length), "forms": json.dumps(forms)}
    save_file(tensors, path, {**notes, **own})


def read_cache(
    path: Path, stores: Mapping[Slot, Store], capacity: int | None, device: torch.device
) -> Content:
    """Read a file for these stores; see `Cache.load`.

    Args:
        path: of the file.
        stores: those that take the content; nothing is put into them yet.
        capacity: positions that fit; None: any number.
        device: where tensors go.
    """
    try:
        with safe_open(path, "pt", device="cpu") as file:
            said = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the cache cannot be read: {error}", where=str(path)) from error
    if said.get("format") != _FORMAT:
        raise ModelError("the file holds no cache", where=str(path))
    length, forms = int(said["length"]), json.loads(said["forms"])
    ours = {_spelled(slot): slot for slot in stores}
    if ours.keys() != forms.keys():
        different = sorted(ours.keys() ^ forms.keys())
        raise ModelError(
            f"the file was written by another model: {', '.join(different[:3])} "
            "are in only one of the two",
            where=str(path),
        )
    if capacity is not None and length > capacity:
        raise ModelError(
            f"the file holds {length} positions, and {capacity} fit",
            where=str(path),
            fix="make the cache longer",
        )
    for name, slot in ours.items():
        if not stores[slot].accepts(forms[name]):
            raise ModelError(
                f"{name} is kept as {forms[name]!r} in the file, "
                f"which does not go into {stores[slot].form!r}",
                where=str(path),
                fix="load it into a cache of the kind that it was saved from",
            )
    found: dict[Slot, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        layer, slot_name, part = name.split(".", 2)
        found.setdefault((int(layer), slot_name), {})[part] = tensor.to(device)
    notes = {name: value for name, value in said.items() if name not in _OWN}
    return Content(length, found, notes)


def _spelled(slot: Slot) -> str:
    return f"{slot[0]}.{slot[1]}"
