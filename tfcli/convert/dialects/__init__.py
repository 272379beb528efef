"""Dialects: how the repositories that models first came from name and lay out their tensors."""
