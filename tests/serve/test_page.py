"""The page, in a real browser where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess

import httpx
import pytest

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def test_the_page_loads_nothing_from_elsewhere(server):
    page = httpx.get(server.url)
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"(src|href)\s*=|https?://|@import", page.text)
    assert "innerHTML" not in page.text


@pytest.mark.skipif(BROWSER is None, reason="needs chromium on the path")
def test_a_browser_shows_the_models(server, tmp_path):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=10000", server.url]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "<option>tiny</option>" in found.stdout.replace(' value="tiny"', "")
    assert "turn error" not in found.stdout
