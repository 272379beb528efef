"""Models that carry a state from token to token instead of keys and values."""

from __future__ import annotations

from tfcli.models.family import Family

FAMILIES: tuple[Family, ...] = ()
