"""What `tfcli doctor` finds out, as data."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from tfcli.recipe.spec import Result

State = Literal["ok", "missing", "broken"]


class Part(BaseModel):
    """One part that was tried."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="The part.")
    needed_for: str = Field(description="What tfcli does with it.")
    required: bool = Field(description="False for an optional extra.")
    state: State = Field(
        description="ok, missing, or broken: there, but it failed when it was tried."
    )
    detail: str = Field(description="What was seen.")
    fix: str | None = Field(
        description="The command or step that closes the gap; null when it works."
    )
    seconds: float = Field(description="How long the try took.")


class Disk(BaseModel):
    """The file system that holds the hub cache."""

    model_config = ConfigDict(frozen=True)

    path: str = Field(
        description="The hub cache's folder, or the nearest one above it that exists."
    )
    free_bytes: int = Field(description="Free for this user.")
    total_bytes: int = Field(description="Size of the file system.")


class DoctorResult(Result):
    """The whole answer. `ok` is true when every required part works."""

    schema_name: ClassVar[str] = "tfcli.doctor/1"

    ok: bool = Field(description="Whether every required part works.")
    versions: dict[str, str] = Field(
        description="tfcli, python and every package that tfcli names; missing for those that are "
        "not there.",
    )
    system: str = Field(description="Operating system and machine type.")
    memory_bytes: int = Field(description="Memory of the machine.")
    memory_free_bytes: int = Field(description="Memory that is free now.")
    disk: Disk | None = Field(description="The file system of the hub cache.")
    devices: list[dict[str, Any]] = Field(
        description="The processor first, then accelerators: type, name, memory, what each can do."
    )
    arithmetic: dict[str, str] = Field(
        {}, description="How weights of each kind are multiplied on this processor, and why."
    )
    layouts: dict[str, Literal["packed", "unpacked"]] = Field(
        {},
        description="By quant_method how quantized weights that are read stay in memory when the "
        "model runs: as they are packed, or dequantized to bfloat16.",
    )
    not_tried: list[str] = Field(
        [], description="Parts that take long and are tried with --thorough alone."
    )
    parts: list[Part] = Field(description="Every part that was tried.")
