"""Adapters for the tests: made by PEFT itself, with values that change something."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

from tests.checkpoints.models import GPT2, LLAMA, tiny
from tfcli.checkpoints.folder import save_model
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.merge.run import run
from tfcli.merge.spec import MergeResult, MergeSpec
from tfcli.recipe.job import Job

ATTENTION = ["q_proj", "v_proj", "down_proj"]


def merge(base: Path, adapter: Path, output: Path, **options: Any) -> MergeResult:
    output.mkdir()
    spec = MergeSpec(base=str(base), adapter=str(adapter), output=str(output), **options)
    return run(spec, Job(folder=output))


def base_folder(folder: Path, settings: dict[str, Any] = LLAMA, **options: Any) -> Path:
    """A tiny model's folder; `dtype` is a keyword of `tiny`, others are keys of its config."""
    model = tiny(settings, **options)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):  # zeros would hide what is done to them
            parameter.data = torch.linspace(-1, 1, parameter.numel()).to(parameter.dtype)
    save_model(model, folder)
    return folder


def gpt2_folder(folder: Path, **options: Any) -> Path:
    return base_folder(folder, GPT2, **options)


def train(base: Path, folder: Path, config: peft.PeftConfig) -> peft.PeftModel:
    """PEFT's model with random adapter values, saved to `folder`."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    model = peft.get_peft_model(model, copy.deepcopy(config))  # PEFT writes into it
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            near = 1.0 if "ia3" in name or "magnitude" in name else 0.0
            noise = 0.2 * torch.randn(parameter.shape, generator=generator)
            parameter.data = (parameter.data * near + noise).to(parameter.dtype)
    model.save_pretrained(folder)
    return model.eval()


def by_hand(folder: Path, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    """An adapter folder as PEFT writes them, with these tensors."""
    folder.mkdir()
    pending = [PendingTensor.of(f"base_model.model.{name}", t) for name, t in tensors.items()]
    write_safetensors(folder / "adapter_model.safetensors", pending)
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, **config}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder
