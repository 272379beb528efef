"""`tfcli benchmark`: times and memory, each model in a process of its own."""
