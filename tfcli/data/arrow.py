"""The library that reads .arrow and .parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfcli.errors import WorkError


def pyarrow_for(path: Path) -> Any:
    """pyarrow, with its part for .parquet.

    Raises:
        WorkError: it is not installed; names the file that needs it.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise WorkError(
            f"{path.suffix} files need the pyarrow library",
            where=str(path),
            fix="pip install 'tfcli[data]'",
        ) from error
    return pyarrow
