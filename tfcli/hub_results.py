"""What `tfcli hub` prints with --json."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, Field

from tfcli.recipe.spec import Result


class HubFile(BaseModel):
    """A file of a hub repository."""

    name: str = Field(description="The file's path in the repository.")
    bytes: int = Field(description="The file's size.")


class _Pinned(Result):
    repo: str = Field(description="The hub id.")
    commit: str = Field(description="The commit hash: `repo@commit` names these files for good.")
    files: list[HubFile] = Field(description="The files.")
    bytes: int = Field(description="Bytes of all files.")


class HubListResult(_Pinned):
    """`tfcli hub ls`."""

    schema_name: ClassVar[str] = "tfcli.hub-ls/1"


class HubDownloadResult(_Pinned):
    """`tfcli hub download`."""

    schema_name: ClassVar[str] = "tfcli.hub-download/1"
    folder: str = Field(description="Where the files lie.")


class HubUploadResult(_Pinned):
    """`tfcli hub upload`."""

    schema_name: ClassVar[str] = "tfcli.hub-upload/1"
    folder: str = Field(description="The folder that was uploaded.")
    created: bool = Field(description="Whether the repository was made for it.")
