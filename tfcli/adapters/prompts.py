"""Reading virtual tokens from PEFT's files: prefix tuning, prompt tuning, and what p-tuning's
encoder has made of its own."""

from __future__ import annotations

from pathlib import Path

import torch

from tfcli.checkpoints.beside import read_object
from tfcli.checkpoints.containers import ADAPTER_CONFIG
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.errors import ModelError, WorkError
from tfcli.models.adapters.attach import attach_prompt
from tfcli.models.adapters.prompts import Prefix, Prompt, VirtualTokens, require_promptable
from tfcli.models.model import Model

KINDS: dict[str, type[Prefix] | type[Prompt]] = {
    "PREFIX_TUNING": Prefix,
    "PROMPT_TUNING": Prompt,
    "P_TUNING": Prompt,
}
"""PEFT's types. Its files hold what an encoder gave, not the encoder."""
_WEIGHTS, _STORED = "adapter_model.safetensors", "prompt_embeddings"


def is_prompt(folder: Path) -> bool:
    """Whether a folder holds an adapter with virtual tokens."""
    path = folder / ADAPTER_CONFIG
    return path.is_file() and read_object(folder, ADAPTER_CONFIG).get("peft_type") in KINDS


def read_prompt(model: Model, folder: Path, name: str) -> list[str]:
    """Put virtual tokens from a folder before the texts of a model; see `read_adapter`.

    Returns:
        the names of changed modules, which are none

    Raises:
        WorkError: broken files, other tensors, or a model that they are not for.
    """
    kind = KINDS[read_object(folder, ADAPTER_CONFIG)["peft_type"]]
    path = folder / _WEIGHTS
    if not path.exists():
        raise WorkError(f"the folder has no {_WEIGHTS}", where=str(folder))
    source = open_tensors(path)
    if list(source) != [_STORED]:
        raise WorkError(f"it holds other tensors than {_STORED}", where=str(path))
    values = source[_STORED]
    try:
        require_promptable(model)
        prompt: VirtualTokens = kind.of(model, values.shape[0])
        if prompt.embedding.shape != values.shape:
            raise ModelError(
                f"{_STORED} is {list(values.shape)}, and the model needs "
                f"{list(prompt.embedding.shape)}",
                fix="check that the adapter belongs to this base",
            )
        with torch.no_grad():
            prompt.embedding.copy_(values)
        attach_prompt(model, name, prompt)
    except ModelError as error:
        raise WorkError(error.what, where=str(folder), fix=error.fix) from error
    model.requires_grad_(False)
    return []
