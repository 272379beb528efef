"""`tfcli serve`: models answer over HTTP."""
