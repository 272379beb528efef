"""Run by torchrun: DeepSpeed trains a step with each stage of ZeRO, saves, rebuilds the weights.

Arguments: the Hugging Face folder of the model, the folder to write, the stages.
"""

import os
import sys

os.environ["DS_ACCELERATOR"] = "cpu"

import deepspeed
import torch
import transformers
from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint


def main(source: str, target: str, *stages: str) -> None:
    deepspeed.init_distributed("gloo")
    for stage in stages:
        model = transformers.AutoModelForCausalLM.from_pretrained(source)
        for parameter in model.model.layers[0].mlp.parameters():
            parameter.requires_grad_(False)
        model.model.rotary_emb._non_persistent_buffers_set.discard("inv_freq")
        trained = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1]},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        settings = {
            "train_micro_batch_size_per_gpu": 1,
            "zero_allow_untested_optimizer": True,
            "bf16": {"enabled": True},
            "zero_optimization": {"stage": int(stage)},
        }
        engine, *_ = deepspeed.initialize(
            model=model, optimizer=torch.optim.AdamW(groups, lr=0.01), config=settings
        )
        assert engine.zero_optimization_stage() == int(stage)
        ids = torch.arange(8)[None] + engine.global_rank
        engine.backward(engine(input_ids=ids, labels=ids).loss)
        engine.step()
        folder = f"{target}/{stage}"
        engine.save_checkpoint(folder)
        if engine.global_rank == 0:
            rebuilt = get_fp32_state_dict_from_zero_checkpoint(folder)
            torch.save({k: v.clone() for k, v in rebuilt.items()}, f"{target}/rebuilt{stage}.pt")
        torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
    # All is written. Threads of libraries that transformers imports sometimes abort the exit.
    os._exit(0)
