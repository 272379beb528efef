"""Released weights, which `scripts/released` gets. Every test here has the marker `released`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.recipe.execute import execute

RELEASED = Path(__file__).parents[2] / ".released"
GGUF = {
    "smollm2": RELEASED / "smollm2-135m-instruct-q4_1.gguf",
    "gemma3": RELEASED / "gemma3-270m-q4_k_m.gguf",
}
MINILM = RELEASED / "all-minilm-l6-v2"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.released)


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each GGUF file as the float32 folder that `tfcli convert` makes of it."""
    folder = tmp_path_factory.mktemp("released")
    for name, file in GGUF.items():
        spec = ConvertSpec(source=str(file), output=str(folder / name), dtype="fp32")
        execute(spec, Console.silent())
    return {name: folder / name for name in GGUF}
