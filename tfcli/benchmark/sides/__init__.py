"""What runs a model in a benchmark: tfcli, and others that are measured beside it."""
