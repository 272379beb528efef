"""transformers' side: the one file of tfcli that imports transformers.

It is imported by a benchmark's worker alone, in a process that measures transformers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache, logging

from tfcli.benchmark.sides.side import TorchSide
from tfcli.benchmark.task import Task
from tfcli.errors import WorkError


class TransformersSide(TorchSide):
    """A model of transformers, without what its `generate` adds to each step."""

    model: Any

    def __init__(self, task: Task) -> None:
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        # Code that comes with a checkpoint is not run; tfcli runs none either.
        try:
            self.model = AutoModelForCausalLM.from_pretrained(
                task.model,
                dtype=task.dtype,
                attn_implementation=ATTENTION[task.attention],
                trust_remote_code=False,
            )
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise WorkError(f"transformers cannot load it: {said[0]}", where=task.model) from error
        self.model.to(task.device).eval()
        self.vocabulary = self.model.config.get_text_config().vocab_size

    def make_cache(self, length: int) -> Any:
        """transformers' growing cache."""
        return DynamicCache(config=self.model.config)

    def forward(self, ids: Tensor, cache: Any) -> Tensor:
        """See `TorchSide`."""
        out: Any = self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1]

    def loss(self, ids: Tensor) -> Tensor:
        """See `TorchSide`."""
        loss: Tensor = self.model(input_ids=ids, labels=ids, use_cache=False).loss
        return loss

    def cache_bytes(self, cache: Any) -> int:
        """See `TorchSide`."""
        held = [each for layer in cache.layers for each in vars(layer).values()]
        return sum(each.nbytes for each in held if isinstance(each, torch.Tensor))


ATTENTION = {
    "sdpa": "sdpa",
    "eager": "eager",
    "flex": "flex_attention",
    "flash": "flash_attention_2",
}
"""tfcli's names of attention backends -> those of transformers."""
