"""Families of FlagAI."""

from __future__ import annotations

from tfcli.models.family import Family

FAMILIES: tuple[Family, ...] = ()
