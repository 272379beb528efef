"""Models that carry a state from token to token."""

from __future__ import annotations

from tests.models.case import Case

CASES: list[Case] = []
