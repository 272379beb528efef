"""What a training imports until its end: no more than it needs."""

from __future__ import annotations

import json
import subprocess
import sys

CODE = """
import json, pathlib, sys
from tfcli.recipe.job import Job
from tfcli.train.run import run
from tfcli.train.spec import TrainSpec

run(TrainSpec.model_validate(json.loads(sys.argv[1])), Job(folder=pathlib.Path(sys.argv[2])))
heavy = "torch._dynamo", "torch._inductor", "torch.distributed.tensor", "sympy", "pyarrow", "pandas"
sys.exit(", ".join(name for name in heavy if name in sys.modules) or 0)
"""


def test_a_training_on_texts_imports_no_compiler_and_no_tables(make_spec, tmp_path):
    """torch's compiler takes seconds, and optimizers import it to say what is not compiled."""
    spec = json.dumps(make_spec(max_steps=1).model_dump(mode="json"))
    words = [sys.executable, "-c", CODE, spec, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
