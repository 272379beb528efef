"""dstack: a task (dstack.ai, ".dstack.yml", `type: task`)."""

from __future__ import annotations

from typing import Any

from tfcli.errors import UsageError
from tfcli.launch.plan import Plan
from tfcli.launch.text import as_yaml

USE = "Start it with: dstack apply -f FILE"
WORK, STORAGE = "/work", "/storage"


def write(plan: Plan) -> str:
    """The task. It is tried again when its machines are taken away.

    Raises:
        UsageError: a path that dstack would put other values in.
    """
    if "${{" in plan.recipe:
        raise UsageError(
            "dstack puts values of its own in the place of ${{ }}", where="recipe", fix="rename it"
        )
    resources: dict[str, Any] = {"memory": f"{plan.gigabytes}GB.."}
    if plan.gpus:
        least = -(-plan.memory // 10**9)
        gpu: dict[str, Any] = {"count": plan.gpus, "memory": f"{least}GB.."}
        resources["gpu"] = {"name": plan.gpu, **gpu} if plan.gpu else gpu
        resources["shm_size"] = "8GB"
    command = plan.torchrun(
        "$DSTACK_MASTER_NODE_IP", "$(( DSTACK_NODE_RANK == 0 ))", f"{STORAGE}/{plan.name}"
    )
    python = ".".join(plan.versions["python"].split(".")[:2])
    task: dict[str, Any] = {
        "type": "task",
        "name": plan.name,
        "nodes": plan.nodes,
        **({"image": plan.image} if plan.image else {"python": python}),
        "files": [f".:{WORK}"],
        "working_dir": WORK,
        "env": [f"{name}={value}" for name, value in plan.environment.items() if value],
        "volumes": [f"{plan.storage}:{STORAGE}"],
        "commands": [f"pip install {plan.requirements}", command],
        "resources": resources,
        "spot_policy": "auto",
        "retry": {"on_events": ["no-capacity", "interruption", "error"], "duration": "1d"},
        "stop_duration": f"{plan.grace}s",
    }
    if plan.seconds is not None:
        task["max_duration"] = f"{plan.seconds}s"
    return plan.comment(USE) + as_yaml(task)
