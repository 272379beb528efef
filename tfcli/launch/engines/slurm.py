"""Slurm: a batch script. Recipe, data and output lie on a file system that all nodes see."""

from __future__ import annotations

import shlex
from dataclasses import replace

from tfcli.launch.duration import as_clock
from tfcli.launch.plan import Plan

USE = "Start it with: sbatch FILE"


def write(plan: Plan) -> str:
    """The script.

    The signal comes `grace` seconds before the time limit, and before a preemption kills, to the
    batch shell alone (B:). That has Slurm signal the step, waits for the checkpoint and puts the
    job back into the queue.
    """
    gpu = f"{plan.gpu}:{plan.gpus}" if plan.gpu else str(plan.gpus)
    options = [
        f"--job-name={plan.name}",
        f"--output={plan.name}-%j.out",
        "--open-mode=append",
        f"--nodes={plan.nodes}",
        "--ntasks-per-node=1",
        *([f"--gpus-per-node={gpu}"] if plan.gpus else []),
        f"--mem={plan.gigabytes}G",
        *([] if plan.seconds is None else [f"--time={as_clock(plan.seconds)}"]),
        f"--signal=B:TERM@{plan.grace}",
        "--requeue",
    ]
    # Slurm watches the time itself.
    command = replace(plan, seconds=None).torchrun("$HEAD", "$(( SLURM_NODEID == 0 ))")
    header = "".join(f"#SBATCH {option}\n" for option in options)
    return f"""#!/bin/bash
{header}
{plan.comment(USE)}
set -uo pipefail
cd -- {shlex.quote(str(plan.folder))} || exit 1
{plan.exports}
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export HEAD

asked=0
stop() {{
  asked=1
  scancel --signal=TERM "$SLURM_JOB_ID"  # the step, and not this shell
}}
trap stop TERM

srun --kill-on-bad-exit=1 bash -c {shlex.quote("exec " + command)} &
step=$!
wait "$step"
code=$?
while kill -0 "$step" 2>/dev/null; do  # the signal ended the wait, not the step
  wait "$step"
  code=$?
done
if [ "$code" -ne 0 ] && [ "$asked" -eq 1 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""
