"""Run one tfcli command and watch its own memory: command.py [--limit BYTES] WORD ...

The last line is a JSON object: seconds from the start of the command, RssAnon after the imports
and its peak. With --limit the process may have no more data than that (RLIMIT_DATA).
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from pathlib import Path

import torch

from tfcli.commands.app import run


def anonymous() -> int:
    """RssAnon of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("the kernel tells no RssAnon")


def main() -> None:
    words = sys.argv[1:]
    if words[0] == "--limit":
        resource.setrlimit(resource.RLIMIT_DATA, (int(words[1]), int(words[1])))
        words = words[2:]
    torch.ones(1 << 16).bfloat16().to(torch.float16)
    before = highest = anonymous()
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.005):
            highest = max(highest, anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.perf_counter()
    code = run([*words, "--quiet"])
    seconds = time.perf_counter() - began
    done.set()
    thread.join()
    if code:
        raise SystemExit(code)
    print(json.dumps({"seconds": seconds, "base_bytes": before, "own_bytes": highest - before}))


main()
