"""What `tfcli launch` says."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tfcli.recipe.spec import Result


class LaunchResult(Result):
    """A file for an engine."""

    schema_name: ClassVar[str] = "tfcli.launch/1"

    engine: str = Field(description="Whom it is for.")
    recipe: str = Field(description="The recipe that is trained.")
    name: str = Field(description="The job's name.")
    nodes: int = Field(description="Machines.")
    processes: int = Field(description="Processes on all of them together.")
    memory: int = Field(description="Bytes in each process, on its device, as `tfcli estimate`.")
    host_memory: int = Field(description="Bytes of main memory that are asked for on each machine.")
    output: str | None = Field(description="The file that was written; null for standard output.")
    start: str = Field(description="The command that starts it.")
    text: str = Field(description="What is in it.")
