"""`tfcli diff`: what two checkpoints have in common, and where they differ."""
