"""A command-line workbench for transformer checkpoints.

From Python: `tfcli.load(model)`, see docs/python.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfcli.loaded import Loaded, generate, load, load_processor, load_tokenizer
    from tfcli.predict.pipeline import Pipeline, pipeline

__version__ = "0.1.0"
__all__ = [
    "Loaded",
    "Pipeline",
    "generate",
    "load",
    "load_processor",
    "load_tokenizer",
    "pipeline",
]
_OF_PIPELINES = ("Pipeline", "pipeline")


def __getattr__(name: str) -> Any:
    # Nothing is imported before it is asked for: the command line starts without torch.
    if name in _OF_PIPELINES:
        from tfcli.predict import pipeline as module

        return getattr(module, name)
    if name in __all__:
        from tfcli import loaded

        return getattr(loaded, name)
    raise AttributeError(f"module 'tfcli' has no attribute {name!r}")
