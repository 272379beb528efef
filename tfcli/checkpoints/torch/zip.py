"""Files of torch.save in their zip format, torch 1.6 and later.

    <name>/data.pkl      the pickled object; a tensor's storage is a persistent id
    <name>/data/<key>    the bytes of each storage, not compressed, mostly at multiples of 64
    <name>/byteorder     `little` or `big`; missing in old files, which are little
    <name>/version       the format's version, and small records that are not needed here

Source: torch/serialization.py (`_save`, `_load`) and caffe2/serialize/inline_container.cc.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tfcli.checkpoints.io.dtypes import BITS
from tfcli.checkpoints.io.growing import Growing
from tfcli.checkpoints.io.opened import OpenedFile, Reader
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.pickle.globals import STORAGE_TYPES, find_global
from tfcli.checkpoints.torch.pickle.machine import BUDGET, BUDGET_SHARE, Machine
from tfcli.checkpoints.torch.pickle.values import Global, PickleRefusedError, Storage
from tfcli.checkpoints.torch.zip_directory import Entry, Part, common_folder, read_directory
from tfcli.errors import WorkError

MAX_PICKLE = 64_000_000  # bytes; one of 40,000 tensors takes 12 MB
_SMALL = 64  # bytes that a record such as byteorder may have
_AGAIN = "get the file again; it is damaged or was not written by torch.save"


def read_zip(file: OpenedFile, part: tuple[int, int] | None = None) -> Any:
    """The pickled object of a zip file, its tensors as `StoredTensor`. No weights are read.

    Args:
        file: the opened file.
        part: where in it the archive begins and its length, in bytes; None: it is the whole file.

    Raises:
        WorkError: a broken archive, a big-endian or TorchScript file, a pickle that is refused,
            or storages that are not what the pickle says.
    """
    path = file.path
    with file.reading() as reader:
        start, length = part or (0, reader.size)
        inner = read_directory(Part(reader, start, length), path)
        entries = {name: replace(one, start=start + one.start) for name, one in inner.items()}
        records = _records(path, entries, common_folder(entries))
        _require_little(reader, path, records.get("byteorder"))
        return _unpickle(reader, path, records["data.pkl"], records)


def storage_type(value: Any) -> str | None:
    """The code of a pickled storage class; None for bytes of any type.

    Raises:
        PickleRefusedError: it is no storage class.
    """
    if type(value) is not Global or value.name not in STORAGE_TYPES:
        raise PickleRefusedError("a persistent id has no storage type")
    return STORAGE_TYPES[value.name]


def storage_id(value: Any, length: int) -> tuple[Any, ...]:
    """The parts of a storage's persistent id after the word `storage`.

    Raises:
        PickleRefusedError: it is something else.
    """
    if type(value) is not tuple or len(value) != length or value[0] not in ("storage", b"storage"):
        raise PickleRefusedError("a persistent id is not a storage's", hostile=True)
    kind, key, location, numel, *rest = value[1:]
    if type(key) is not str or len(key) > _SMALL or type(location) not in (str, bytes):
        raise PickleRefusedError("a persistent id has no key or no location")
    if type(numel) is not int or not 0 <= numel < 2**63:
        raise PickleRefusedError(f"storage {short(key)}: its number of elements is none")
    return (kind, key, location, numel, *rest)


def _unpickle(reader: Reader, path: Path, pickled: Entry, records: dict[str, Entry]) -> Any:
    storages: dict[str, Storage] = {}

    def persistent(value: Any) -> Storage:
        kind, key, _, numel = storage_id(value, 5)
        dtype = storage_type(kind)
        entry = records.get(f"data/{key}")
        if entry is None:
            raise PickleRefusedError(f"storage {short(key)}: the archive has no data/{key}")
        itemsize = max(BITS[dtype] // 8, 1) if dtype else 1
        # A storage may end in a part of an element.
        if not 0 <= entry.nbytes - numel * itemsize < itemsize:
            raise PickleRefusedError(
                f"storage {short(key)}: {numel} elements of {itemsize} bytes are announced, "
                f"data/{key} has {entry.nbytes} bytes"
            )
        # One storage for all tensors that share it, unless they say different types.
        known = storages.get(key)
        if known is None or known.dtype != dtype:
            known = storages[key] = Storage(key, dtype, entry.nbytes, entry.start)
        return known

    source = Growing(reader, pickled.start, pickled.nbytes)
    budget = BUDGET + reader.size // BUDGET_SHARE
    machine = Machine(source, find=find_global, persistent=persistent, budget=budget)
    try:
        content = machine.load()
        if machine.at != machine.end:
            left = machine.end - machine.at
            raise PickleRefusedError(f"{left} bytes follow the end of the pickle")
    except PickleRefusedError as problem:
        raise WorkError(f"data.pkl: {problem.what}", where=str(path), fix=problem.fix) from None
    return content


def _records(path: Path, entries: dict[str, Entry], prefix: str | None) -> dict[str, Entry]:
    """The entries by their names inside of the one folder that they share."""
    if not prefix or f"{prefix}/data.pkl" not in entries:
        raise WorkError(
            "a zip archive without data.pkl, which torch.save would have written",
            where=str(path),
            fix=_AGAIN,
        )
    records = {name[len(prefix) + 1 :]: entry for name, entry in entries.items()}
    if "constants.pkl" in records:
        raise WorkError(
            "a TorchScript archive, which holds code",
            where=str(path),
            fix="save the model's state_dict with torch.save",
        )
    if records["data.pkl"].nbytes > MAX_PICKLE:
        raise WorkError(
            f"data.pkl takes {records['data.pkl'].nbytes} bytes; at most {MAX_PICKLE} are read",
            where=str(path),
            fix=_AGAIN,
        )
    return records


def _require_little(reader: Reader, path: Path, entry: Entry | None) -> None:
    if entry is None:
        return
    text = reader.bytes(entry.start, min(entry.nbytes, _SMALL))
    if text != b"little":
        found = "big-endian" if text == b"big" else f"of the byte order {text!r}"
        raise WorkError(
            f"byteorder: the values are {found}; little-endian ones are read",
            where=str(path),
            fix="load and save it again with torch on a machine of today",
        )
