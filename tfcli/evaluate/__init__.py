"""`tfcli eval`: figures for a model on a data file."""
