"""`tfcli shard`: the same checkpoint in files of another size."""
