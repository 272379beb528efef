"""`tfcli hub ls|download|upload`: files of a model repository on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfcli.commands.help import Command, Group
from tfcli.commands.options import Debug, Json, Quiet, Verbose, json_fields
from tfcli.commands.output import finish, print_facts, print_table
from tfcli.console import Console
from tfcli.hub_results import HubDownloadResult, HubListResult, HubUploadResult
from tfcli.units import format_bytes

app = typer.Typer(
    cls=Group,
    add_completion=False,
    help="List, download and upload files of a model on the Hugging Face hub.",
)
Repo = Annotated[str, typer.Argument(metavar="REPO", help="A hub id, org/name[@revision].")]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include", metavar="PATTERN", help="Take only files that match: '*.safetensors'."
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="PATTERN", help="Leave out files that match."),
]


@app.command(
    "ls",
    cls=Command,
    help="List the files of a repository, at the commit that the branch is at.",
    epilog="tfcli hub ls org/name --include '*.safetensors'\n" + json_fields(HubListResult),
)
def ls(
    repo: Repo,
    include: Include = None,
    exclude: Exclude = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    debug: Debug = False,
) -> None:
    from tfcli.hub_files import list_files

    result = list_files(repo, include or [], exclude or [])
    finish(result, _show_list, Console(quiet, verbose, json))


@app.command(
    "download",
    cls=Command,
    help="Fetch files, all of one commit; run again, it goes on.",
    epilog="tfcli hub download org/name@main models/name\n" + json_fields(HubDownloadResult),
)
def download(
    repo: Repo,
    folder: Annotated[
        Path | None,
        typer.Argument(help="Where they go. Without it: the hub's cache.", show_default=False),
    ] = None,
    include: Include = None,
    exclude: Exclude = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    debug: Debug = False,
) -> None:
    from tfcli.hub_files import download_files

    _client_progress(quiet)
    result = download_files(repo, folder, include or [], exclude or [])
    finish(result, _show_download, Console(quiet, verbose, json))


@app.command(
    "upload",
    cls=Command,
    help="Send the files of a folder as one commit; run again, it goes on.",
    epilog="tfcli hub upload models/base-4bit org/name --create --private\n"
    + json_fields(HubUploadResult),
)
def upload(
    folder: Annotated[Path, typer.Argument(help="The folder.", show_default=False)],
    repo: Annotated[str, typer.Argument(metavar="REPO", help="A hub id, org/name[@branch].")],
    include: Include = None,
    exclude: Exclude = None,
    message: Annotated[str, typer.Option(help="The message of the commit.")] = "Upload with tfcli",
    create: Annotated[
        bool, typer.Option("--create", help="Make the repository where there is none.")
    ] = False,
    private: Annotated[bool, typer.Option("--private", help="Make it private.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    debug: Debug = False,
) -> None:
    from tfcli.errors import UsageError
    from tfcli.hub_files import upload_folder

    if private and not create:
        raise UsageError("--private is for a repository that is made", fix="add --create")
    _client_progress(quiet)
    result = upload_folder(
        folder,
        repo,
        include or [],
        exclude or [],
        message=message,
        create=create,
        private=private,
    )
    finish(result, _show_upload, Console(quiet, verbose, json))


def _client_progress(quiet: bool) -> None:
    # The client draws bars on stderr by itself.
    if quiet:
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()


def _show_list(result: HubListResult, console: Console) -> None:
    rows = [[file.name, format_bytes(file.bytes)] for file in result.files]
    title = f"{result.repo}@{result.commit}: {format_bytes(result.bytes)}"
    print_table(console, title, ["file", "size"], rows)


def _show_download(result: HubDownloadResult, console: Console) -> None:
    print_facts(
        console,
        "Downloaded",
        {
            "repository": f"{result.repo}@{result.commit}",
            "files": f"{len(result.files)}, {format_bytes(result.bytes)}",
            "folder": result.folder,
        },
    )


def _show_upload(result: HubUploadResult, console: Console) -> None:
    made = ", which was made" if result.created else ""
    print_facts(
        console,
        "Uploaded",
        {
            "repository": f"{result.repo}@{result.commit}{made}",
            "files": f"{len(result.files)}, {format_bytes(result.bytes)}",
        },
    )
