"""The kernels' fixtures serve here too."""

from tests.models.kernels.conftest import level

__all__ = ["level"]
