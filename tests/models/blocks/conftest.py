"""The kernels' fixtures serve here too."""

from tests.models.kernels.conftest import kernels_folder, level

__all__ = ["kernels_folder", "level"]
