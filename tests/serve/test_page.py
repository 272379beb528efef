"""The page, in a real browser where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
import time

import httpx
import pytest

DRIVER = shutil.which("chromedriver")
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


class Browser:
    """A page in Chromium, by the protocol of WebDriver."""

    def __init__(self, driver, profile, url):
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        options = {"goog:chromeOptions": {"binary": BROWSER, "args": arguments}}
        wanted = {"capabilities": {"alwaysMatch": options}}
        self._client = httpx.Client(base_url=driver, timeout=None)
        session = self._client.post("/session", json=wanted).raise_for_status().json()
        self._path = f"/session/{session['value']['sessionId']}"
        self.ask("url", url=url)

    def ask(self, command, **keys):
        found = self._client.post(f"{self._path}/{command}", json=keys)
        return found.raise_for_status().json()["value"]

    def says(self, script):
        return self.ask("execute/sync", script=f"return {script}", args=[])

    def wait(self, script):
        while not self.says(script):
            time.sleep(0.05)

    def element(self, selector):
        (reference,) = self.ask("element", using="css selector", value=selector).values()
        return f"element/{reference}"

    def click(self, selector):
        self.ask(f"{self.element(selector)}/click")

    def type(self, selector, text):
        self.ask(f"{self.element(selector)}/value", text=text)

    def close(self):
        self._client.delete(self._path)


@pytest.fixture
def driver():
    """The address of a WebDriver."""
    process = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        port = next(filter(None, (re.search(r"on port (\d+)\.", line) for line in process.stdout)))
        yield f"http://127.0.0.1:{port[1]}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.skipif(None in (BROWSER, DRIVER), reason="needs chromium and chromedriver")
def test_a_conversation_in_a_browser(server, client, driver, tmp_path):
    page = Browser(driver, tmp_path, server.url)
    try:
        page.wait("document.querySelectorAll('#model option').length == 1")
        page.click("[data-tab=settings]")
        page.type("#max", "5")
        page.type("#temperature", "0")
        page.click("[data-tab=chat]")
        page.type("#text", "Why?")
        page.click("#send")
        page.wait(
            "document.querySelector('.assistant') && !document.querySelector('#send').disabled"
        )
        turn = [{"role": "user", "content": "Why?"}]
        found = client.chat.completions.create(
            model="tiny", messages=turn, max_tokens=5, temperature=0
        )
        said = page.says("document.querySelector('.assistant').textContent")
        assert said == found.choices[0].message.content
        page.type("#text", "<b>And</b> why?\n")
        page.wait("document.querySelectorAll('.assistant').length == 2")
        assert page.says("document.querySelector('.turn b')") is None
        page.click("[data-tab=metrics]")
        page.wait("document.querySelectorAll('#figures tr').length > 3")
        page.click("[data-tab=chat]")
        page.click("#anew")
        assert page.says("document.querySelectorAll('.turn').length") == 0
        page.click("[data-tab=settings]")
        page.type("#temperature", "999")
        page.click("[data-tab=chat]")
        page.type("#text", "Why?\n")
        page.wait("document.querySelector('.error')")
        assert "temperature" in page.says("document.querySelector('.error').textContent")
    finally:
        page.close()
