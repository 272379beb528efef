"""Decoders with a mixture of experts."""

from __future__ import annotations

from tests.models.case import Case

CASES: list[Case] = []
