"""Run by torchrun: each process saves its part of a model and of its optimizer.

Arguments: the Hugging Face folder of the model, the folder to write.
"""

import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import transformers
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor


def main(source: str, target: str) -> None:
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model = transformers.AutoModelForCausalLM.from_pretrained(source)
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    model(torch.arange(8)[None]).logits.sum().backward()
    optimizer.step()  # at a rate of 0: the weights stay, the optimizer's state is made
    assert any(isinstance(parameter, DTensor) for parameter in model.parameters())
    weights, state = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": state, "step": 3}, checkpoint_id=target)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
