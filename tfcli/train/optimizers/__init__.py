"""Optimizers that torch has not got, or not in this form; one file each."""
