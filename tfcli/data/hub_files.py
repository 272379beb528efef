"""Which files of a data set on the hub are fetched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tfcli.data.documents import READERS as TEXTS
from tfcli.data.layout import README as README
from tfcli.data.layout import DataPlace, files_of
from tfcli.data.row_files import READERS as ROWS
from tfcli.errors import UsageError
from tfcli.hub_choice import Choice, HubRef

_NEVER = {README, "dataset_infos.json", "dataset_dict.json"}


def data_choice(names: Sequence[str], asked: HubRef, readme: str | None) -> Choice:
    """The files of a configuration, all of its splits, and README.md.

    Args:
        names: of all files that the data set has.
        asked: says which configuration.
        readme: the content of README.md; None where there is none.

    Raises:
        UsageError: no such configuration, or no file of rows or text.
    """
    kinds = {*TEXTS, *ROWS}
    files = [Path(name) for name in sorted(names) if Path(name).suffix.lower() in kinds]
    data = [name for name in files if name.as_posix() not in _NEVER]
    if not data:
        raise UsageError(
            f"{asked.name} holds no {', '.join(sorted(ROWS))} file: its rows are made by code, "
            "which is not run, or are kept in another way",
            fix=f"name what the hub made of it: {asked.name}@refs/convert/parquet",
        )
    chosen = files_of(data, None, DataPlace(Path(asked.name), asked.part), readme or "")
    kept = [README] if README in names else []
    return Choice((*kept, *(name.as_posix() for name in chosen)))
