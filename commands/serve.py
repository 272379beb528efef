"""`tfcli serve`: models answer over HTTP."""

from __future__ import annotations

from tfcli.commands.options import service_command
from tfcli.console import Console
from tfcli.serve.spec import ServeSpec


def run(spec: ServeSpec, console: Console) -> None:
    """Load, listen, and end when told to."""
    from tfcli.serve.run import run as serve

    serve(spec, console)


app = service_command(
    ServeSpec,
    run,
    epilog="tfcli serve MODEL --port 8000 --prefix-folder prefixes\n\n"
    "tfcli serve chat=MODEL --adapters polite=ADAPTER --api-key KEY",
)
