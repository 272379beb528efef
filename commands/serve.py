"""`tfcli serve`: models answer over HTTP."""

from __future__ import annotations

from functools import partial

from tfcli.commands.options import json_fields, service_command
from tfcli.commands.output import finish
from tfcli.console import Console
from tfcli.serve.spec import ServeResult, ServeSpec


def run(spec: ServeSpec, console: Console) -> None:
    """Load, listen, say where, and end when told to."""
    from tfcli.serve.run import run as serve

    serve(spec, console, partial(finish, show=show, console=console))


def show(result: ServeResult, console: Console) -> None:
    """Where to ask for what."""
    console.note(f"serving {', '.join(result.models)} at {result.url}")


app = service_command(
    ServeSpec,
    run,
    epilog="tfcli serve MODEL --port 8000 --prefix-folder prefixes\n\n"
    "tfcli serve chat=MODEL --adapters polite=ADAPTER --api-key KEY\n" + json_fields(ServeResult),
)
