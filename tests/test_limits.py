"""docs/security.md: its limits are those of the code, and the tests that it names are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tfcli.limits_page import all_limits, limits_table, with_limits

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/security.md"


def test_the_table_is_that_of_the_code():
    """`scripts/reference` writes it."""
    text = PAGE.read_text(encoding="utf-8")
    assert with_limits(text) == text


def test_every_limit_is_in_the_table_and_says_of_what_it_is():
    table = limits_table()
    assert len(all_limits()) > 30
    for name, limit in all_limits().items():
        assert limit.what, name
        assert f"| {limit.what} | {limit:,}" in table, name


def test_every_limit_is_used():
    code = [path.read_text(encoding="utf-8") for path in sources()]
    for name in all_limits():
        assert sum(len(re.findall(rf"\b{name}\b", text)) > 1 for text in code), name


def sources():
    for folder in ("tfcli", "models"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name not in ("limits.py", "limits_page.py") and not path.is_symlink():
                yield path


def test_the_tests_that_it_names_are_there():
    """And run before a change lands, or are called nightly."""
    named = re.findall(r"\| (.*) \| `(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 15
    for guarantee, file, function in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert function in functions, f"{file}::{function}"
        marks = " ".join(map(ast.unparse, functions[function].decorator_list))
        assert ("mark.faults" in marks) == ("nightly" in guarantee), f"{file}::{function}"
