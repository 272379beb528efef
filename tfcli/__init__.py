"""A command-line workbench for transformer checkpoints.

From Python: `tfcli.load(model)`, see docs/python.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfcli.loaded import Loaded, generate, load, load_processor, load_tokenizer
    from tfcli.predict.pipeline import Pipeline, pipeline

__version__ = "0.1.0"
_LOADED = ("Loaded", "generate", "load", "load_processor", "load_tokenizer")
_PIPELINE = ("Pipeline", "pipeline")
__all__ = [*_LOADED, *_PIPELINE]


def __getattr__(name: str) -> Any:
    # Nothing is imported before it is asked for: the command line starts without torch.
    if name in _LOADED:
        from tfcli import loaded

        return getattr(loaded, name)
    if name in _PIPELINE:
        from tfcli.predict import pipeline as module

        return getattr(module, name)
    raise AttributeError(f"module 'tfcli' has no attribute {name!r}")
