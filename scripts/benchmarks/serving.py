"""How a server answers: serving.py MODEL [TOKENS] [CLIENTS]

One object of JSON: tokens a second of one client and of several at once, and the seconds to the
first token of a long prompt, of its second turn, and of that after a restart.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter

import httpx

PROMPT, MORE = 2000, 40


@contextmanager
def server(model: str, prefixes: str) -> Iterator[str]:
    """The address of a server's completions."""
    words = ["tfcli", "serve", f"model={model}", "--port=0", f"--prefix-folder={prefixes}"]
    with subprocess.Popen(
        [sys.executable, "-m", "tfcli.commands", *words[1:]], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if " at http" in line)
        try:
            yield line.split()[-1] + "/v1/completions"
        finally:
            process.terminate()
            process.wait()


def body(ids: list[int], tokens: int) -> dict:
    """A request whose answer has all its tokens: no end comes."""
    said = {"model": "model", "prompt": ids, "max_tokens": tokens, "temperature": 0}
    return {**said, "logit_bias": {str(end): -100 for end in range(3)}}


def first_token(url: str, ids: list[int]) -> float:
    """Seconds until an answer of one token is there: what a random model says may be no text, and
    then nothing of a longer one comes before its end."""
    began = perf_counter()
    httpx.post(url, json=body(ids, 1), timeout=600).raise_for_status()
    return perf_counter() - began


def rate(url: str, clients: int, tokens: int) -> float:
    """Tokens a second of some clients together."""

    def one(number: int) -> int:
        ids = [random.Random(number).randrange(5, 1000) for _ in range(16)]
        found = httpx.post(url, json=body(ids, tokens), timeout=600).json()
        return found["usage"]["completion_tokens"]

    began = perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        made = sum(threads.map(one, range(clients)))
    return made / (perf_counter() - began)


def main() -> None:
    model, *more = sys.argv[1:]
    tokens, clients = (int(word) for word in (more + ["64", "8"][len(more) :]))
    chance = random.Random(0)
    prompt = [chance.randrange(5, 1000) for _ in range(PROMPT)]
    turn = [*prompt, *(chance.randrange(5, 1000) for _ in range(MORE))]
    later = [*prompt, *(chance.randrange(5, 1000) for _ in range(MORE))]
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as prefixes:
        with server(model, prefixes) as url:
            rate(url, 1, 4)
            found["one"] = rate(url, 1, tokens)
            found["several"] = rate(url, clients, tokens)
            found["first_turn"] = first_token(url, prompt)
            found["second_turn"] = first_token(url, turn)
        with server(model, prefixes) as url:
            rate(url, 1, 4)
            found["after_restart"] = first_token(url, later)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
