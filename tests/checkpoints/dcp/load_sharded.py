"""Run by torchrun: load a folder of torch.distributed.checkpoint into a fully sharded model.

Arguments: the Hugging Face folder with the expected weights, the folder to load.
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import transformers
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor


def main(expected: str, folder: str) -> None:
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    config = transformers.AutoConfig.for_model(
        **json.loads((Path(expected) / "config.json").read_text())
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    state = model.state_dict()
    assert any(isinstance(value, DTensor) for value in state.values())
    dcp.load({"model": state}, checkpoint_id=folder)
    model.load_state_dict(state)
    wanted = load_file(f"{expected}/model.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(value.full_tensor(), wanted[name]), name
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
