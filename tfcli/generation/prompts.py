"""The prompts of a run: one, or those of a file."""

from __future__ import annotations

from pathlib import Path

from tfcli.data.documents import read_documents, read_text
from tfcli.errors import UsageError
from tfcli.generation.spec import GenerateSpec

FIELD = "prompt"


def read_prompts(spec: GenerateSpec) -> list[str]:
    """The texts that the model reads, in order.

    A .jsonl, .csv or .parquet file has one a row; every other file one a line, empty lines left
    out.

    Raises:
        UsageError: a folder, or a file without a prompt.
        WorkError: no UTF-8 text, or a row without the field `prompt`.
    """
    if spec.prompts is None:
        assert spec.prompt is not None, "the spec has one of both"
        return [spec.prompt]
    path = Path(spec.prompts)
    if path.is_dir():
        raise UsageError("prompts are read from a file, not a folder", where="prompts")
    if path.suffix.lower() in (".jsonl", ".csv", ".parquet"):
        return read_documents(path, FIELD)
    # Only "\n" ends a line: a prompt may hold the other characters that splitlines() splits at.
    lines = read_text(path).split("\n")
    found = [line.removesuffix("\r") for line in lines if line.strip()]
    if not found:
        raise UsageError("there is no prompt in it", where=str(path))
    return found
