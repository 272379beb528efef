"""Kubernetes: an indexed Job with a headless Service.

Both are in every cluster; a PyTorchJob needs Kubeflow's operator, which is not, and whose versions
differ. An index gives each pod a name that stays when it is made again, and the Service an address
under that name: so the head node is found, also after it was lost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tfcli.launch.plan import PORT, Plan
from tfcli.launch.text import as_yaml

USE = "Start it with: kubectl apply -f FILE"
STORAGE = "/storage"


def write(plan: Plan) -> str:
    """The two objects. The claim holds recipe, data and output.

    A pod whose node goes counts as no failure; one that fails is started again, which goes on from
    the last checkpoint.
    """
    # Kubernetes watches the time itself.
    command = replace(plan, seconds=None).torchrun(
        f"{plan.name}-0.{plan.name}", "$(( JOB_COMPLETION_INDEX == 0 ))"
    )
    # `$(NAME)` is Kubernetes' own word for a variable, and `$$(` what stands for `$(`.
    script = f"set -e\ncd {STORAGE}\nexec {command}\n".replace("$(", "$$(")
    limits: dict[str, Any] = {"memory": f"{plan.gigabytes}G"}
    if plan.gpus:
        limits["nvidia.com/gpu"] = plan.gpus
    env = [{"name": name, "value": value} for name, value in plan.environment.items() if value]
    container = {
        "name": "train",
        "image": plan.image,
        "command": ["bash", "-c", script],
        "env": env,
        "ports": [{"containerPort": PORT}],
        "resources": {"requests": dict(limits), "limits": limits},
        "volumeMounts": [
            {"name": "storage", "mountPath": STORAGE},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }
    pod = {
        "subdomain": plan.name,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": plan.grace,
        "containers": [container],
        "volumes": [
            {"name": "storage", "persistentVolumeClaim": {"claimName": plan.storage}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
        ],
    }
    job: dict[str, Any] = {
        "completionMode": "Indexed",
        "completions": plan.nodes,
        "parallelism": plan.nodes,
        "backoffLimit": plan.restarts * plan.nodes,
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
            ]
        },
        "template": {"metadata": {"labels": {"app": plan.name}}, "spec": pod},
    }
    if plan.seconds is not None:
        job["activeDeadlineSeconds"] = plan.seconds
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": plan.name},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"app": plan.name},
            "ports": [{"port": PORT}],
        },
    }
    whole = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": plan.name}, "spec": job}
    return plan.comment(USE) + as_yaml(service) + "---\n" + as_yaml(whole)
