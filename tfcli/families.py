"""Families of a user's own: a Python file that the user names, or an installed package.

Such code runs, because the user asked for it by name, and when the work begins: looking at a recipe
runs nothing of it. Code that a checkpoint brings along never does.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

from pydantic import AfterValidator, Field

from tfcli.errors import UsageError
from tfcli.files import expanded
from tfcli.recipe.spec import Role

NAME = "FAMILIES"


def load_family_file(path: str) -> str:
    """Run a Python file and register the families in its `FAMILIES`. Returns the path.

    A file is run once in a process.

    Raises:
        UsageError: no such file, an error in it, or nothing in it to register.
    """
    from tfcli.models.registry import register

    file = expanded(path)
    if not file.is_file():
        raise UsageError(f"there is no file {path}", where="family_file")
    if has_run(path):
        return path
    module_name = _module_name(path)
    families = getattr(_run(file, module_name), NAME, None)
    if not isinstance(families, (list, tuple)) or not families:
        del sys.modules[module_name]
        raise UsageError(
            f"the file has no list {NAME}",
            where=path,
            fix=f"end it with {NAME} = [Family(...)]; docs/own-families.md has an example",
        )
    for family in families:
        register(family)
    return path


def has_run(path: str) -> bool:
    """Whether a file of families was run in this process, and found to have some."""
    return _module_name(path) in sys.modules


def _module_name(path: str) -> str:
    file = expanded(path)
    return f"tfcli_family_{file.stem}_{abs(hash(file.resolve()))}"


def modules_beside(file: Path) -> list[Path]:
    """The Python files beside a family's file that its imports may mean, and theirs.

    Nothing is run: what the text of a file imports is looked for where the file lies. A package
    counts with all that is in it.
    """
    found: dict[Path, None] = {}
    waiting = [file]
    while waiting:
        for name in _imported(waiting.pop()):
            for home in {file.parent, file.resolve().parent}:  # whichever the file asks for
                places = [home / f"{name}.py", *(home / name).rglob("*.py")]
                new = [place for place in places if place.is_file() and place not in found]
                found.update(dict.fromkeys(new))
                waiting += new
    return sorted(found)


def _imported(file: Path) -> set[str]:
    """The first parts of the names of all modules that a file imports, anywhere in it."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return set()  # whoever runs it says what is wrong
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
            found |= {alias.name for alias in node.names} if not node.module else set()
    return {name for name in found if name.isidentifier()}


def _run(file: Path, module_name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise UsageError(
            "is not a Python file", where=str(file), fix="give a file that ends in .py"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        line = _line_in(error, file)
        raise UsageError(
            f"the file failed: {type(error).__name__}: {error}", where=f"{file}{line}"
        ) from error
    return module


def _line_in(error: BaseException, file: Path) -> str:
    """Where in the file an error arose, as `:12`."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}"
    lines, trace = [], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f":{lines[-1]}" if lines else ""


def _must_exist(path: str) -> str:
    if not expanded(path).is_file():
        raise ValueError(f"there is no file {path}")
    return path


FamilyFile = Annotated[
    Annotated[str, Role("input", reads="code"), AfterValidator(_must_exist)] | None,
    Field(description="A Python file of yours with model families; it is run."),
]
"""A spec's key `family_file`. Reading a spec only looks whether the file is there; `execute` loads
it before the verb runs."""
