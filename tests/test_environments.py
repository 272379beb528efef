"""Environments of other projects' programs: `scripts/test` says which of them are missing."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_environment_that_a_test_runs_in_is_named_and_made():
    code = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/*.py"))
    used = set(re.findall(r'"\.([\w-]+)/bin/python"', code))
    assert {"hqq", "quanto"} <= used
    script = (ROOT / "scripts/test").read_text(encoding="utf-8")
    (said,) = re.findall(r"^for other in (.*); do$", script, re.MULTILINE)
    assert set(said.split()) == used
    assert all((ROOT / "scripts" / name).is_file() for name in used)
