"""The cases of `quanto.safetensors`."""

from __future__ import annotations

CASES = {
    "int8": ("qint8", (16, 32)),
    "float8": ("qfloat8", (16, 32)),
    "float8-e5m2": ("qfloat8_e5m2", (16, 32)),
    "int4": ("qint4", (6, 32)),
    "int4-odd": ("qint4", (5, 48)),
    "int4-groups": ("qint4", (3, 256)),
    "int4-short-groups": ("qint4", (3, 160)),
    "int2": ("qint2", (6, 32)),
    "int2-groups": ("qint2", (3, 192)),
}
"""quanto's type, and outputs and inputs."""
