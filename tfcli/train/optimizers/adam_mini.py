"""Adam-mini: one learning rate for a block of weights instead of one for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from tfcli.train.optimizers.groups import Groups, moved

HEADS = ("q_proj", "k_proj", "query", "key", "q", "k")
"""What queries and keys are called in attention: their blocks are heads."""


class AdamMini(torch.optim.Optimizer):
    """Adam whose running square is a mean over a block of weights (Zhang et al. 2024, "Adam-mini:
    Use Fewer Learning Rates To Gain More"): half of Adam's state.

    Args:
        groups: of parameters, each with `weight_decay`.
        lr: the rate; AdamW's.
        betas: of AdamW.
        eps: of AdamW.
        rows: parameter -> rows of its matrix that are a block; see `block_rows`.
    """

    def __init__(
        self,
        groups: Groups,
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        rows: Mapping[nn.Parameter, int],
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps})
        self._rows = rows

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter with a gradient."""
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in moved(group):
                gradient, state = parameter.grad, self.state[parameter]
                assert gradient is not None
                square = self._blocks(parameter, gradient).square().mean(1)
                if not state:
                    state |= {"step": 0, "exp_avg": torch.zeros_like(parameter)}
                    state["exp_avg_sq"] = torch.zeros_like(square)
                state["step"] += 1
                mean = state["exp_avg"].lerp_(gradient, 1 - first)
                squares = state["exp_avg_sq"].lerp_(square, 1 - second)
                size = (squares / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                change = self._blocks(parameter, mean) / size[:, None]
                rate = group["lr"] / (1 - first ** state["step"])
                parameter.sub_(change.view_as(parameter), alpha=rate)

    def _blocks(self, parameter: nn.Parameter, values: Tensor) -> Tensor:
        """Values of a parameter's shape -> [blocks, weights of a block]"""
        rows = self._rows[parameter]
        if not rows:
            return values.reshape(1, -1)
        width = parameter.numel() // parameter.shape[0]
        return values.reshape(-1, rows * width)


def block_rows(model: nn.Module) -> dict[nn.Parameter, int]:
    """How many rows of each parameter are a block: those of a head for queries and keys, one for
    other matrices and for tables, 0 for a block of the whole: norms. Of a bias each number is its
    own, as in Adam."""
    found = {}
    for name, parameter in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        above, _, called = owner.rpartition(".")
        head = getattr(model.get_submodule(above), "head_dim", 0) if called in HEADS else 0
        if parameter.ndim > 1:
            fits = head and parameter.shape[0] % head == 0
            found[parameter] = head if fits else 1
        else:
            found[parameter] = int(leaf == "bias")
    return found
