"""A command-line workbench for transformer checkpoints."""

__version__ = "0.1.0"
