"""How much memory this machine has for a model, found without torch."""

from __future__ import annotations

import shutil
import subprocess

from tfcli.inspect.spec import DeviceMemory

_ASK = ("--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits")
_SECONDS = 10


def memory_here() -> list[DeviceMemory]:
    """The main memory, and that of every NVIDIA GPU."""
    import psutil

    main = psutil.virtual_memory().total
    return [DeviceMemory(device="cpu", name="main memory", bytes=main), *parse_gpus(_asked())]


def parse_gpus(text: str) -> list[DeviceMemory]:
    """What nvidia-smi says of each GPU, one a line, in MiB; lines that say it not are left out."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 3 and parts[0].isdecimal() and parts[2].isdecimal():
            size = int(parts[2]) << 20
            found.append(DeviceMemory(device=f"cuda:{parts[0]}", name=parts[1], bytes=size))
    return found


def _asked() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        done = subprocess.run([program, *_ASK], capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):  # a driver that does not answer runs no model
        return ""
    return done.stdout if done.returncode == 0 else ""
