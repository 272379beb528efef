"""What `tfcli doctor` finds out, as data."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from tfcli.recipe.spec import Result

State = Literal["ok", "missing", "broken"]


class Part(BaseModel):
    """One part that was tried."""

    model_config = ConfigDict(frozen=True)

    name: str
    needed_for: str
    required: bool
    state: State
    detail: str
    fix: str | None
    """The command or step that closes the gap; None when the part works."""
    seconds: float


class Disk(BaseModel):
    """The file system that holds the hub cache."""

    model_config = ConfigDict(frozen=True)

    path: str
    free_bytes: int
    total_bytes: int


class DoctorResult(Result):
    """The whole answer. `ok` is true when every required part works."""

    schema_name: ClassVar[str] = "tfcli.doctor/1"

    ok: bool
    versions: dict[str, str]
    """tfcli, python and every package that tfcli names, with "missing" for those not there."""
    system: str
    memory_bytes: int
    memory_free_bytes: int
    disk: Disk | None
    devices: list[dict[str, Any]]
    """The processor first, then accelerators: type, name, memory, and what each can do."""
    parts: list[Part]
