"""SkyPilot: a task of a managed job (docs.skypilot.co, "SkyPilot YAML")."""

from __future__ import annotations

from typing import Any

from tfcli.launch.plan import Plan
from tfcli.launch.text import as_yaml

USE = "Start it with: sky jobs launch FILE"
STORAGE = "/storage"


def write(plan: Plan) -> str:
    """The task. A managed job is started on other machines when its own are taken away."""
    resources: dict[str, Any] = {"memory": f"{plan.gigabytes}+"}
    if plan.gpus:
        resources["accelerators"] = f"{plan.gpu}:{plan.gpus}"
    if plan.image:
        resources["image_id"] = f"docker:{plan.image}"
    resources["use_spot"] = True
    resources["job_recovery"] = {
        "strategy": "FAILOVER",
        "max_restarts_on_errors": plan.restarts,
    }
    command = plan.torchrun("$HEAD", "$(( SKYPILOT_NODE_RANK == 0 ))", f"{STORAGE}/{plan.name}")
    run = f'set -e\nHEAD=$(echo "$SKYPILOT_NODE_IPS" | head -n 1)\nexec {command}\n'
    task = {
        "name": plan.name,
        "num_nodes": plan.nodes,
        "workdir": ".",
        "resources": resources,
        "envs": {name: value for name, value in plan.environment.items() if value},
        "file_mounts": {STORAGE: {"source": plan.storage, "mode": "MOUNT"}},
        "setup": f"pip install {plan.requirements}\n",
        "run": run,
    }
    return plan.comment(USE) + as_yaml(task)
