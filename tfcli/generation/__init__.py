"""`tfcli generate`: continue a prompt."""
