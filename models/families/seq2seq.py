"""Encoder-decoders."""

from __future__ import annotations

from tfcli.models.family import Family

FAMILIES: tuple[Family, ...] = ()
