"""Pickles as data: a machine that knows what tensors need and calls nothing else."""
