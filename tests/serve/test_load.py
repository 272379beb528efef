"""Many clients, some of them bad: no crash, no leak, and nobody gets another's text."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading

import httpx
import pytest
from starlette.requests import Request

from tests.serve.conftest import serving
from tests.serve.test_openai import counted
from tfcli.console import Console
from tfcli.serve.http.events import stream
from tfcli.serve.row import Row

CLIENTS = 200


async def one(client, number, texts):
    """A client of one of several kinds; gives what kind of answer it got."""
    chance, prompt = random.Random(number), number % 10
    body = {"model": "tiny", "prompt": f"Number {prompt}.", "max_tokens": 12, "temperature": 0}
    kind = chance.choice(["whole", "stream", "slow", "leaves", "leaves early", "bad", "large"])
    if kind == "bad":
        found = await client.post("/v1/completions", content=b'{"model": "tiny", "prompt"')
        return kind, found.status_code == 400
    if kind == "large":
        found = await client.post("/v1/completions", content=b" " * ((1 << 20) + 1))
        return kind, found.status_code == 413
    if kind == "whole":
        found = await client.post("/v1/completions", json=body)
        return kind, found.json()["choices"][0]["text"] == texts[prompt]
    if kind == "leaves early":
        with pytest.raises(httpx.TimeoutException):
            await client.post("/v1/completions", json={**body, "max_tokens": 60}, timeout=0.001)
        return kind, True
    text = ""
    async with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as lines:
        async for line in lines.aiter_lines():
            if line.startswith("data: {"):
                text += json.loads(line[6:])["choices"][0]["text"]
                if kind == "leaves" and text:
                    break
                if kind == "slow":
                    await asyncio.sleep(0.02)
    return kind, texts[prompt].startswith(text) if kind == "leaves" else text == texts[prompt]


def test_many_clients_get_their_own_texts(server):
    async def all_of_them():
        limits = httpx.Limits(max_connections=CLIENTS)
        async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:
            texts = []
            for number in range(10):
                body = {"prompt": f"Number {number}.", "max_tokens": 12, "temperature": 0}
                found = await client.post("/v1/completions", json={"model": "tiny", **body})
                texts.append(found.json()["choices"][0]["text"])
            return await asyncio.gather(*(one(client, n, texts) for n in range(CLIENTS)))

    found = asyncio.run(all_of_them())
    assert not [kind for kind, right in found if not right]
    assert len({kind for kind, _ in found}) == 7
    for _ in range(600):
        left = counted(server)
        if not left['tfcli_unfinished{model="tiny"}']:
            break
        threading.Event().wait(0.05)
    assert left['tfcli_unfinished{model="tiny"}'] == left['tfcli_running{model="tiny"}'] == 0
    assert not [name for name in left if 'status="500"' in name]


def test_what_waits_beyond_the_limit_is_refused(chat_llama):
    with serving(chat_llama, rows=1, waiting=0, positions=900) as server:
        body = {"model": "tiny", "prompt": "The sky", "max_tokens": 880, "stream": True}
        body["logit_bias"] = {"0": -100}  # the end does not come
        url = f"{server.url}/v1/completions"
        with httpx.stream("POST", url, json=body) as first:
            lines = first.iter_lines()
            next(lines)
            busy = httpx.post(url, json=body)
            assert busy.status_code == 429
            assert busy.headers["retry-after"]
        large = httpx.post(url, json={**body, "max_tokens": 1000})
        assert large.status_code == 422
        assert "positions" in large.json()["error"]["message"]


def test_a_key_is_asked_for(chat_llama):
    with serving(chat_llama, api_key="secret") as server:
        url = f"{server.url}/v1/models"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"authorization": "Bearer other"}).status_code == 401
        assert httpx.get(url, headers={"authorization": "Bearer secret"}).status_code == 200
        assert httpx.get(url, headers={"x-api-key": "secret"}).status_code == 200
        assert httpx.get(f"{server.url}/health").status_code == 200


@pytest.mark.parametrize("streamed", [True, False])
def test_a_text_ends_when_its_client_goes_away(chat_llama, monkeypatch, streamed):
    take = Row.take

    def slow(row, *given):
        threading.Event().wait(0.02)
        return take(row, *given)

    monkeypatch.setattr(Row, "take", slow)
    with serving(chat_llama) as server:
        body = {"model": "tiny", "prompt": "The", "max_tokens": 900, "logit_bias": {"0": -100}}
        with httpx.Client(base_url=server.url) as client:
            if streamed:
                with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as one:
                    next(one.iter_lines())
            else:
                with pytest.raises(httpx.TimeoutException):
                    client.post("/v1/completions", json=body, timeout=0.5)
            name = 'tfcli_unfinished{model="tiny"}'
            while counted(server)[name]:
                threading.Event().wait(0.05)
        assert 0 < counted(server)['tfcli_tokens_total{kind="answer",model="tiny"}'] < 900


def test_the_cause_of_a_defect_is_told_at_the_server(chat_llama, monkeypatch):
    def broken(row, logits):
        raise KeyError("cause")

    told = []
    monkeypatch.setattr(Row, "take", broken)
    monkeypatch.setattr(Console, "warn", lambda console, text: told.append(text))
    with serving(chat_llama) as server:
        body = {"model": "tiny", "prompt": "The"}
        assert httpx.post(f"{server.url}/v1/completions", json=body).status_code == 500
    assert "KeyError: 'cause'" in told[-1]


def test_a_text_ends_when_its_client_left_before_the_stream_began():
    class Texts:
        cancelled = False

        def cancel(self):
            self.cancelled = True

    async def nothing(message=None):
        return {"type": "http.disconnect"}

    async def events():
        yield "never"

    scope, texts = {"type": "http", "method": "POST", "path": "/", "headers": []}, Texts()
    asyncio.run(stream(Request(scope), texts, events())(scope, nothing, nothing))
    assert texts.cancelled


@pytest.mark.parametrize(
    "headers", [{"origin": "http://elsewhere"}, {"host": "elsewhere"}, {"origin": "null"}]
)
def test_a_page_from_elsewhere_is_refused(server, headers):
    assert httpx.get(f"{server.url}/v1/models", headers=headers).status_code == 403


def test_told_to_end_it_finishes_what_runs_and_refuses_what_comes(chat_llama):
    command = [sys.executable, "-m", "tfcli.commands", "serve", str(chat_llama), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        url = process.stderr.readline().split()[-1] + "/v1/completions"
        body = {"model": "tiny", "prompt": "The", "max_tokens": 900, "stream": True}
        body["logit_bias"] = {"0": -100}  # the end does not come
        with httpx.stream("POST", url, json=body, timeout=120) as running:
            lines = running.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            for _ in range(200):
                refused = httpx.post(url, json=body, timeout=120)
                if refused.status_code == 503:
                    break
            assert refused.status_code == 503
            assert refused.json()["error"]["type"] == "overloaded_error"
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert process.wait(60) == 0
