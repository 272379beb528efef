"""Run by torchrun: load a folder into a model that is fully sharded, and compare its logits.

Arguments: the folder, a file with token ids and the logits that one process computes,
and the folder of what is found.
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.io.opened import Reader


def main(folder: str, expected: str, results: str) -> None:
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    read = 0
    into = Reader.into

    def counted(self, start, memory):
        nonlocal read
        read += memory.nbytes
        into(self, start, memory)

    Reader.into = counted

    def spread(model):
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)

    model = load_model(folder, task=None, spread=spread)
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    held = sum(parameter.to_local().nbytes for parameter in model.parameters())
    ids, logits = torch.load(expected, weights_only=True)
    with torch.no_grad():
        found = model(ids).logits
    model(ids, labels=ids, return_logits=False).loss.backward()
    gradients = all(isinstance(parameter.grad, DTensor) for parameter in model.parameters())
    result = {
        "read": read,
        "held": held,
        "difference": float((found - logits).abs().max()),
        "norm": float(
            sum(parameter.grad.full_tensor().square().sum() for parameter in model.parameters())
        ),
        "gradients": gradients,
    }
    Path(results, f"{dist.get_rank()}.json").write_text(json.dumps(result))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
