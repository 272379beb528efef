"""A tiny classifier, and commands on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.generation.test_media import llava, photos  # noqa: F401 - fixtures
from tests.generation.test_speech_run import whisper  # noqa: F401 - a fixture
from tests.predict.support import make_model, make_words


@pytest.fixture(scope="session")
def classifier(tmp_path_factory) -> Path:
    """A folder with a model of three labels. Shared by the whole session."""
    words = make_words(tmp_path_factory.mktemp("words") / "words")
    labels = {"id2label": {"0": "good", "1": "bad", "2": "ugly"}}
    folder = tmp_path_factory.mktemp("classifier") / "model"
    return make_model(folder, words, "sequence-classification", **labels)
