"""Tiny checkpoints of any family, converted as the command does it, and inputs for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.models.tiny import tiny_model
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.console import Console
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.models.model import Model
from tfcli.recipe.execute import execute


def saved(folder: Path, model_type: str, task: str | None = None, **changes: Any) -> Path:
    """A checkpoint folder with random weights; `changes` are keys of its config."""
    save_model(tiny_model(model_type, task, **changes), folder)
    return folder


def convert(source: Path, output: Path, **keys: Any) -> ConvertResult:
    spec = ConvertSpec(source=str(source), output=str(output), **keys)
    result = execute(spec, Console.silent()).result
    assert isinstance(result, ConvertResult)
    return result


def padded(model: Model, rows: int, length: int) -> dict[str, torch.Tensor]:
    """Ids, with three tokens of padding behind the last row, and segments and a target where the
    model takes them."""
    generator = torch.Generator().manual_seed(rows * length)
    ids = torch.randint(3, 60, (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, -3:] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    if model.task == "seq2seq-lm":
        batch["decoder_input_ids"] = torch.randint(3, 60, (rows, length + 2), generator=generator)
    if "token_type_ids" in model.body_class.inputs:
        batch["token_type_ids"] = (torch.arange(length) > 2).long().expand(rows, -1)
    return batch


def model_of(folder: Path) -> Model:
    return load_model(folder, task=None)


@torch.no_grad()
def logits(model: Model, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return model(**batch).logits
