"""Checkpoints of any container: what they hold, and how they are read, written and compared."""
