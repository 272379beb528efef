"""Imports run one way: commands -> tfcli -> models, and containers know nothing of verbs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERBS = {
    path.parent.name
    for path in (ROOT / "tfcli").glob("*/spec.py")
    if (path.parent / "run.py").exists()
}
# What a room may not import, below `tfcli.`.
FORBIDDEN = {
    "models": {"*"},
    "tfcli": {"commands"},
    "tfcli/checkpoints": VERBS - {"tokenizers"},
}


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """The modules that a file imports, also inside functions, with their lines."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)


def backwards(room: str, rooms: set[str]) -> list[str]:
    found = []
    for file in sorted((ROOT / room).rglob("*.py")):
        if any(parent.is_symlink() for parent in file.parents):
            continue
        for line, name in imported(file):
            parts = name.split(".")
            if parts[0] != "tfcli" or len(parts) < 2:
                continue
            outside = "*" in rooms and parts[1] != room
            if outside or parts[1] in rooms:
                found.append(f"{file.relative_to(ROOT)}:{line} imports {name}")
    return found


def test_no_import_runs_back() -> None:
    assert [line for room, rooms in FORBIDDEN.items() for line in backwards(room, rooms)] == []


def test_transformers_is_for_tests_and_for_what_is_measured_beside_us() -> None:
    found = {
        str(file.relative_to(ROOT))
        for room in ("models", "tfcli", "commands")
        for file in sorted((ROOT / room).rglob("*.py"))
        for line, name in imported(file)
        if name.split(".")[0] == "transformers"
    }
    peer = "tfcli/benchmark/sides/with_transformers.py"
    assert found == {peer}
    # That file is imported by the process that measures, where it measures transformers.
    module = peer.removesuffix(".py").replace("/", ".")
    users = [
        str(file.relative_to(ROOT))
        for room in ("models", "tfcli", "commands")
        for file in sorted((ROOT / room).rglob("*.py"))
        if any(name.startswith(module) for _, name in imported(file))
    ]
    assert users == ["tfcli/benchmark/worker.py"]
