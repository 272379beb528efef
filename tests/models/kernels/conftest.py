"""Kernels for every level of instructions that this processor has, compiled once."""

from __future__ import annotations

import pytest

from tfcli.models import processor
from tfcli.models.kernels import library


@pytest.fixture(params=list(library.LEVELS))
def level(request, monkeypatch, kernels_folder):
    """Kernels of one level; skipped where the processor has not got its instructions."""
    if not library.LEVELS[request.param].needs <= processor.features():
        pytest.skip(f"the processor has no {request.param}")
    monkeypatch.setenv(library.VARIABLE, request.param)
    assert library.try_anew(kernels_folder) == request.param
    yield request.param
    library.forget()
