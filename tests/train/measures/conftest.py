"""The fixtures of the objectives' tests."""

from tests.train.objectives.conftest import pieces, rows_file, spec_of, train, words

__all__ = ["pieces", "rows_file", "spec_of", "train", "words"]
