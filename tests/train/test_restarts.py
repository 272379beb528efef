"""Workers that a launcher starts again. Two nodes are two agents on one machine."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.train.test_ranks import compare
from tfcli.recipe.job import Job
from tfcli.train.log import read_metrics
from tfcli.train.run import run

STEPS = 24


class Agents:
    """torchrun once for each node, all with the same command.

    Args:
        words: of `tfcli train`.
        nodes: as `--nnodes` takes them.
        count: how many to start.
        processes: workers of each.
    """

    def __init__(self, words: list[str], nodes: str, count: int, processes: int = 1) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            endpoint = f"127.0.0.1:{free.getsockname()[1]}"
        command = [
            *[sys.executable, "-m", "torch.distributed.run", "--nnodes", nodes],
            *["--nproc-per-node", str(processes), "--max-restarts", "2"],
            *["--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--rdzv-id", "test"],
            *["--rdzv-conf", "last_call_timeout=2", "-m", "tfcli.commands", "train", *words],
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
        self.started = [
            subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
            for _ in range(count)
        ]

    def worker(self, rank: int) -> tuple[int, subprocess.Popen[str]]:
        """The process of a rank, and its agent."""
        for agent in self.started:
            for path in Path(f"/proc/{agent.pid}/task/{agent.pid}").glob("children"):
                for child in path.read_text().split():
                    if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(
                        b"\0"
                    ):
                        return int(child), agent
        raise AssertionError(f"no rank {rank}")

    def wait_for(self, pattern: Path) -> None:
        """Until there is such a file."""
        while not any(pattern.parent.glob(pattern.name)):
            assert all(agent.poll() is None for agent in self.started), "all still run"
            time.sleep(0.01)

    def ended(self) -> tuple[list[int], str]:
        """How they end, and what they say."""
        said = [agent.communicate()[1] for agent in self.started]
        return [agent.returncode for agent in self.started], "\n".join(said)


@pytest.fixture
def recipe(make_spec, tmp_path):
    """A recipe with checkpoints, and what one process makes of it alone."""
    common = {"max_steps": STEPS, "checkpoint_every": 2, "gradient_accumulation": 2}
    (tmp_path / "alone").mkdir()
    run(make_spec(batch_size=4, **common), Job(folder=tmp_path / "alone"))
    spec = make_spec(batch_size=2, **common)
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(spec.model_dump(mode="json", exclude_unset=True)))
    return path


def require_done(folder: Path, alone: Path) -> None:
    assert [line["step"] for line in read_metrics(folder / "metrics.jsonl")] == [
        *range(1, STEPS + 1)
    ]
    compare(load_file(folder / "model.safetensors"), load_file(alone / "model.safetensors"))
    assert not list(folder.glob("checkpoint-*"))


def gone_on_from(said: str) -> int:
    """The step of the checkpoint that the last start went on from."""
    return int(re.findall(r"going on from step (\d+)", said)[-1])


def test_two_nodes_survive_the_loss_of_a_worker(recipe, tmp_path):
    agents = Agents([str(recipe)], "2", 2)
    agents.wait_for(tmp_path / ".out.partial" / "checkpoint-*")
    os.kill(agents.worker(1)[0], signal.SIGKILL)
    codes, said = agents.ended()
    assert codes == [0, 0], said[-3000:]
    assert gone_on_from(said) >= 2
    require_done(tmp_path / "out", tmp_path / "alone")


@pytest.mark.nightly
def test_the_process_that_writes_may_be_lost(recipe, tmp_path):
    """Its lock on the output goes with it."""
    agents = Agents([str(recipe)], "2", 2)
    agents.wait_for(tmp_path / ".out.partial" / "checkpoint-*")
    os.kill(agents.worker(0)[0], signal.SIGKILL)
    codes, said = agents.ended()
    assert codes == [0, 0], said[-3000:]
    assert gone_on_from(said) >= 2
    require_done(tmp_path / "out", tmp_path / "alone")


@pytest.mark.nightly
def test_one_node_goes_on_where_the_other_is_lost(recipe, tmp_path):
    agents = Agents([str(recipe)], "1:2", 2)
    agents.wait_for(tmp_path / ".out.partial" / "checkpoint-*")
    worker, agent = agents.worker(1)
    os.kill(agent.pid, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    codes, said = agents.ended()
    assert sorted(codes) == [-signal.SIGKILL, 0], said[-3000:]
    assert gone_on_from(said) >= 2
    require_done(tmp_path / "out", tmp_path / "alone")


@pytest.mark.nightly
@pytest.mark.parametrize("strategy", ["fsdp", "zero3"])
def test_a_run_that_is_told_to_stop_goes_on_exactly(recipe, tmp_path, strategy):
    """As a scheduler does before it takes the machine: SIGTERM to the launcher."""
    whole = tmp_path / "whole"
    words = [str(recipe), "--set", f"strategy={strategy}"]
    codes, said = Agents([*words, "--output", str(whole)], "1", 1, 2).ended()
    assert codes == [0], said[-3000:]
    agents = Agents(words, "1", 1, 2)
    agents.wait_for(tmp_path / ".out.partial" / "checkpoint-*")
    agents.started[0].send_signal(signal.SIGTERM)
    codes, said = agents.ended()
    assert codes != [0]
    assert "stopping after this step" in said
    codes, said = Agents(words, "1", 1, 2).ended()
    assert codes == [0], said[-3000:]
    assert gone_on_from(said) >= 2
    losses = [read_metrics(each / "metrics.jsonl") for each in (whole, tmp_path / "out")]
    assert [line["loss"] for line in losses[0]] == [line["loss"] for line in losses[1]]
    assert (whole / "model.safetensors").read_bytes() == (
        tmp_path / "out" / "model.safetensors"
    ).read_bytes()
