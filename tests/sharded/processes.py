"""Scripts in two processes, as torchrun starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def in_two_processes(script: str, *arguments: object) -> list[dict[str, Any]]:
    """Run a script of this folder in two processes.

    Returns:
        what each wrote as JSON into the folder that is its last argument; lines on one stdout mix
    """
    command = [
        *[sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
        *[str(Path(__file__).with_name(script)), *map(str, arguments)],
    ]
    results = tempfile.TemporaryDirectory()
    command.append(results.name)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}  # noqa: PTH109
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    with results as folder:
        return [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(2)]
