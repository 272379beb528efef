"""Ray: a driver for `ray job submit`, which starts torchrun once on each machine.

Recipe, data and output lie on a file system that all machines see. tfcli does not import ray: the
file is what the cluster runs.
"""

from __future__ import annotations

from tfcli.launch.plan import Plan

USE = "Start it with: ray job submit --working-dir . -- python FILE"


def write(plan: Plan) -> str:
    """The driver. A task whose machine goes is tried again elsewhere; so are the others, which fail
    without it, and they meet anew."""
    command = plan.torchrun("$HEAD", "$FIRST")
    resources = f'{{"CPU": 1, "GPU": {plan.gpus}}}' if plan.gpus else '{"CPU": 1}'
    variables = {name: value for name, value in plan.environment.items() if value}
    return f"""{plan.comment(USE)}
import os
import signal
import socket
import subprocess

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

FOLDER = {plan.folder!r}
COMMAND = {"exec " + command!r}
NODES, MEMORY, RETRIES = {plan.nodes}, {plan.host}, {plan.restarts * plan.nodes}
RESOURCES = {resources}
ENVIRONMENT = {variables!r}


@ray.remote(num_cpus=0)
def address():
    return ray.util.get_node_ip_address()


@ray.remote(max_retries=RETRIES, retry_exceptions=True)
def node(number, head):
    variables = {{**os.environ, **ENVIRONMENT, "HEAD": head, "FIRST": str(int(number == 0))}}
    run = subprocess.Popen(["bash", "-c", COMMAND], cwd=FOLDER, env=variables)
    signal.signal(signal.SIGTERM, lambda *_: run.terminate())  # torchrun tells its processes
    if run.wait():
        raise RuntimeError(f"{{socket.gethostname()}}: torchrun ended with {{run.returncode}}")


ray.init()
group = placement_group([{{**RESOURCES, "memory": MEMORY}}] * NODES, strategy="STRICT_SPREAD")
ray.get(group.ready())
places = [
    PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=number)
    for number in range(NODES)
]
head = ray.get(address.options(scheduling_strategy=places[0]).remote())
ray.get(
    [
        node.options(
            num_cpus=RESOURCES["CPU"],
            num_gpus=RESOURCES.get("GPU", 0),
            memory=MEMORY,
            scheduling_strategy=place,
        ).remote(number, head)
        for number, place in enumerate(places)
    ]
)
"""
