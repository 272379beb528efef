"""Time a command: startup.py COMMAND [WORD ...]"""

from __future__ import annotations

import json
import subprocess
import sys
from time import perf_counter

began = perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(json.dumps({"seconds": perf_counter() - began}))
