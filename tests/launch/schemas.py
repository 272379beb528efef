"""What the engines take, as far as it is written here.

SkyPilot: docs.skypilot.co, "SkyPilot YAML", and sky/utils/schemas.py. dstack: its JSON Schema of
`type: task` (TaskConfiguration, ProfileParams). Kubernetes: batch/v1 Job and v1 Service of its
OpenAPI description. No key but these may be there, so that a misspelt one is found.
"""

from __future__ import annotations

from typing import Any


def mapping(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


def items(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of, "minItems": 1}


TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 1}
NUMBER = {"type": "integer", "minimum": 0}

SKYPILOT = mapping(
    ["run"],
    name={"type": "string", "pattern": "^[a-zA-Z0-9]+(?:[._-]{1,2}[a-zA-Z0-9]+)*$"},
    workdir=TEXT,
    num_nodes=COUNT,
    resources=mapping(
        [],
        accelerators={"type": "string", "pattern": "^[^:]+:[0-9]+$"},
        memory={"type": "string", "pattern": r"^[0-9]+\+?$"},
        image_id=TEXT,
        use_spot={"type": "boolean"},
        job_recovery=mapping(
            [],
            strategy={"enum": ["EAGER_NEXT_REGION", "FAILOVER"]},
            max_restarts_on_errors=NUMBER,
        ),
    ),
    envs=TEXTS,
    file_mounts={
        "type": "object",
        "additionalProperties": mapping(
            ["source"], source=TEXT, mode={"enum": ["MOUNT", "COPY", "MOUNT_CACHED"]}
        ),
    },
    setup=TEXT,
    run=TEXT,
)

LENGTH = {"type": "string", "pattern": "^[0-9]+[smhdw]$"}
SIZE = {"type": "string", "pattern": r"^[0-9]+GB(\.\.)?$"}
DSTACK = mapping(
    ["type", "commands"],
    type={"const": "task"},
    name={"type": "string", "pattern": "^[a-z][a-z0-9-]{1,40}$"},
    nodes=COUNT,
    python={"enum": ["3.9", "3.10", "3.11", "3.12", "3.13"]},
    image=TEXT,
    files=items({"type": "string", "pattern": "^[^:]+:/[^:]+$"}),
    working_dir={"type": "string", "pattern": "^/"},
    env={"type": "array", "items": {"type": "string", "pattern": "^[A-Z_]+=.+$"}},
    volumes=items({"type": "string", "pattern": "^[^:]+:/[^:]+$"}),
    commands=items(TEXT),
    resources=mapping(
        [],
        memory=SIZE,
        shm_size=SIZE,
        gpu=mapping(["count"], name=TEXT, count=COUNT, memory=SIZE),
    ),
    spot_policy={"enum": ["spot", "on-demand", "auto"]},
    retry=mapping(
        ["on_events"],
        on_events=items({"enum": ["no-capacity", "interruption", "error"]}),
        duration=LENGTH,
    ),
    stop_duration=LENGTH,
    max_duration=LENGTH,
)

LABEL = {"type": "string", "pattern": "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"}
QUANTITIES = {"type": "object", "additionalProperties": {"type": ["string", "integer"]}}
SERVICE = mapping(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "v1"},
    kind={"const": "Service"},
    metadata=mapping(["name"], name=LABEL),
    spec=mapping(
        ["clusterIP", "selector"],
        clusterIP={"const": "None"},
        publishNotReadyAddresses={"type": "boolean"},
        selector=TEXTS,
        ports=items(mapping(["port"], port=COUNT)),
    ),
)
POD = mapping(
    ["restartPolicy", "containers"],
    subdomain=LABEL,
    restartPolicy={"const": "Never"},  # what a podFailurePolicy asks for
    terminationGracePeriodSeconds=COUNT,
    containers=items(
        mapping(
            ["name", "image"],
            name=LABEL,
            image=TEXT,
            command=items(TEXT),
            env={"type": "array", "items": mapping(["name", "value"], name=TEXT, value=TEXT)},
            ports=items(mapping(["containerPort"], containerPort=COUNT)),
            resources=mapping([], requests=QUANTITIES, limits=QUANTITIES),
            volumeMounts=items(mapping(["name", "mountPath"], name=LABEL, mountPath=TEXT)),
        )
    ),
    volumes=items(
        mapping(
            ["name"],
            name=LABEL,
            persistentVolumeClaim=mapping(["claimName"], claimName=LABEL),
            emptyDir=mapping([], medium={"enum": ["", "Memory"]}),
        )
    ),
)
JOB = mapping(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "batch/v1"},
    kind={"const": "Job"},
    metadata=mapping(["name"], name=LABEL),
    spec=mapping(
        ["template"],
        completionMode={"const": "Indexed"},
        completions=COUNT,
        parallelism=COUNT,
        backoffLimit=NUMBER,
        activeDeadlineSeconds=COUNT,
        podFailurePolicy=mapping(
            ["rules"],
            rules=items(
                mapping(
                    ["action"],
                    action={"enum": ["Ignore", "FailJob", "Count", "FailIndex"]},
                    onPodConditions=items(mapping(["type"], type=TEXT)),
                )
            ),
        ),
        template=mapping(["spec"], metadata=mapping([], labels=TEXTS), spec=POD),
    ),
)
