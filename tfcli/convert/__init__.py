"""`tfcli convert`: a checkpoint in, the same checkpoint in another dtype or shard size out."""
