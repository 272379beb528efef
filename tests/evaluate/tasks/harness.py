"""Runs in .lm-eval: what lm-evaluation-harness measures of a model with its Hugging Face backend.

Prints a line of JSON: task -> its results, and the log likelihoods or texts of each sample.
"""

import json
import sys

from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

model, folder, tasks, options = sys.argv[1:]
options = json.loads(options)
shots = options.pop("shots", None)
chosen = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=4, **options)
found = simple_evaluate(
    model=chosen,
    tasks=tasks.split(","),
    num_fewshot=shots,
    task_manager=TaskManager(include_path=folder, include_defaults=False),
    bootstrap_iters=0,
    log_samples=True,
)
samples = {
    name: [[each["filtered_resps"], each["arguments"]] for each in rows]
    for name, rows in found["samples"].items()
}
print(json.dumps({"results": found["results"], "samples": samples}, default=str))
