"""Copy a folder with cp and flush it to the disk: copying.py FROM TO"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tfcli.files import sync_folder

subprocess.run(["cp", "-r", *sys.argv[1:]], check=True)
sync_folder(Path(sys.argv[2]))
print(json.dumps({"own_bytes": 0}))
