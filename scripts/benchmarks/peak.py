"""Run one tfcli command and write the most memory that it had: peak.py FILE WORD ...

Under torchrun each process writes a file of its own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tfcli.commands import app
from tfcli.estimate.runtime import highest

code = app.run(sys.argv[2:])
Path(f"{sys.argv[1]}.{os.environ.get('RANK', '0')}").write_text(str(highest()))
sys.exit(code)
