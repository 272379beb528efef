"""Run by torchrun: load a folder cut for tensor parallelism, and compare logits and gradients.

Arguments: the folder, a file with token ids, logits and gradients that one process computes,
and the folder of what is found.
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from tfcli.checkpoints.folder import load_model
from tfcli.models.tensor_parallel import parallelize


def main(folder: str, expected: str, results: str) -> None:
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model = load_model(folder, task=None, spread=lambda model: parallelize(model, mesh))
    ids, logits, gradients = torch.load(expected, weights_only=True)
    with torch.no_grad():
        found = model(ids).logits
        cache = model.make_cache()
        steps = [model(part, cache=cache).logits for part in ids.split([5, 1, ids.shape[1] - 6], 1)]
    model(ids, labels=ids).loss.backward()
    apart = 0.0
    for name, parameter in model.named_parameters():
        whole = parameter.grad
        whole = whole.full_tensor() if isinstance(whole, DTensor) else whole
        apart = max(apart, float((whole - gradients[name]).abs().max()))
    result = {
        "difference": float((found - logits).abs().max()),
        "with a cache": float((torch.cat(steps, 1) - logits).abs().max()),
        "gradients": apart,
        "cut": sum(isinstance(parameter, DTensor) for parameter in model.parameters()),
    }
    Path(results, f"{dist.get_rank()}.json").write_text(json.dumps(result))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
