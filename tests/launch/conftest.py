"""The small spec of the training's tests, and its text."""

from tests.train.conftest import make_spec, texts

__all__ = ["make_spec", "texts"]
