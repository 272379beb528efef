"""How long a model may think before it says something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tfcli.generation.processors import Process, only


@dataclass(frozen=True)
class Budget:
    """A limit of thoughts.

    Args:
        tokens: of the new ones, after which thoughts end.
        begin: the ids that begin them, one after another; empty where the prompt has.
        end: the id that ends them.
    """

    tokens: int
    begin: tuple[int, ...]
    end: int

    def process(self, start: int) -> Process:
        """What ends thoughts of one text.

        Args:
            start: how many ids it has before its first new one.
        """
        ends = only([self.end])

        def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
            new = ids[0, start:].tolist()
            if len(new) < self.tokens or self.end in new or not self._begun(new):
                return logits
            return ends(ids, logits)

        return process

    def _begun(self, new: Sequence[int]) -> bool:
        return tuple(new[: len(self.begin)]) == self.begin
