"""The loss on text that is not trained on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import nn

from tfcli.devices import Precision, autocast
from tfcli.train.batches import Windows
from tfcli.train.objective import Objective


class Validation:
    """Always the same windows, shared out among the processes.

    Args:
        stream (Tensor): [n] int64, the validation text.
        length: tokens that a window predicts.
        batch_size: windows a forward pass.
        objective: as in training.
        precision: as in training.
    """

    def __init__(
        self,
        stream: torch.Tensor,
        length: int,
        batch_size: int,
        objective: Objective,
        precision: Precision,
    ) -> None:
        self.windows = Windows.cut(stream, length)
        self.batch_size = batch_size
        self.objective, self.precision = objective, precision

    @torch.no_grad()
    def loss(
        self, model: nn.Module, accelerator: Accelerator, asked: Callable[[], bool]
    ) -> float | None:
        """The mean loss over all targets, nats a token; None where a process was asked to stop.

        Args:
            model: without DDP's wrapper. It runs uncompiled: its batches have other shapes than
                those of training, and compiling for them takes longer than they do.
            accelerator: sums over the processes.
            asked: whether this process was asked to stop; looked at before each batch.
        """
        rank, processes = accelerator.process_index, accelerator.num_processes
        mine = torch.arange(len(self.windows))[rank::processes]
        targets = int(self.windows.targets.sum())
        total = torch.zeros((), device=accelerator.device)
        stop = asked()
        model.eval()
        # A process may have no window at all, where there are more processes than windows.
        for which in mine.split(self.batch_size) if len(mine) else ():
            if stop := asked():
                break
            batch = self.windows.take(which).to(accelerator.device)
            with autocast(self.precision, accelerator.device.type):
                total += self.objective(model.forward, batch, targets)
        model.train()
        stopped = torch.tensor(float(stop), device=accelerator.device)
        total, stopped = accelerator.reduce(torch.stack([total, stopped]), "sum")
        return None if stopped > 0 else float(total)
