"""What the configs of decoders with a mixture of experts share."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfcli.models.config import require
from tfcli.models.configs.rotary import RotaryConfig
from tfcli.models.limits import MAX_EXPERTS, MAX_LAYERS


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpertsConfig(RotaryConfig):
    """How many experts there are and how many a token goes to.

    transformers takes `num_local_experts` for `num_experts` in most families; here it is read in
    all of them.
    """

    num_experts: int
    num_experts_per_tok: int

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        if "num_local_experts" in data:
            count = data.pop("num_local_experts")
            same = data.setdefault("num_experts", count) == count
            require(same, "num_local_experts", f"is {count}, but another key says otherwise")
        return super().read_keys(data)

    @property
    def expert_size(self) -> int:
        """Width of an expert."""
        return self.intermediate_size

    @property
    def norm_topk_prob(self) -> bool:
        """Whether the chosen experts' shares add up to 1. Most families have a field instead."""
        return True

    @property
    def has_experts(self) -> bool:
        """Whether there are mixtures at all. Some families have a number of experts for none."""
        return True

    def sparse(self, layer: int) -> bool:
        """Whether a layer has experts in place of one mlp."""
        return True

    def check(self) -> None:
        super().check()
        key = self.spelling("num_experts")
        if not self.has_experts:
            return
        require(self.num_experts >= 1, key, "must be at least 1")
        require(
            self.num_experts * max(self.num_hidden_layers, 1) <= MAX_EXPERTS,
            key,
            f"is {self.num_experts:,} in {self.num_hidden_layers:,} layers, "
            f"more than {MAX_EXPERTS:,} experts in all",
        )
        require(
            1 <= self.num_experts_per_tok <= self.num_experts,
            "num_experts_per_tok",
            f"is {self.num_experts_per_tok}, but there are {self.num_experts} experts",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BalancedConfig(ExpertsConfig):
    """Families whose training loss has a part that balances the experts.

    With `output_router_logits` the loss of a language model has `router_aux_loss_coef` times
    `layers.routing.load_balance` added.
    """

    output_router_logits: bool = False
    router_aux_loss_coef: float = 0.001

    def check(self) -> None:
        super().check()
        require(self.router_aux_loss_coef >= 0, "router_aux_loss_coef", "is negative")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharedConfig(BalancedConfig):
    """Families with one more expert in each mixture, for all tokens."""

    shared_expert_intermediate_size: int

    def check(self) -> None:
        super().check()
        self.check_sizes("shared_expert_intermediate_size")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepsConfig(BalancedConfig):
    """Families that mix layers with experts and layers with one mlp.

    Every `decoder_sparse_step`-th layer has experts, except those of `mlp_only_layers`.
    """

    moe_intermediate_size: int
    norm_topk_prob: bool = False
    decoder_sparse_step: int = 1
    mlp_only_layers: list[int] | None = None

    @property
    def expert_size(self) -> int:
        return self.moe_intermediate_size

    def sparse(self, layer: int) -> bool:
        dense = layer in (self.mlp_only_layers or [])
        return not dense and (layer + 1) % self.decoder_sparse_step == 0

    def complete(self) -> None:
        super().complete()
        if self.mlp_only_layers is None:
            object.__setattr__(self, "mlp_only_layers", [])

    def check(self) -> None:
        super().check()
        require(self.moe_intermediate_size >= 1, "moe_intermediate_size", "must be at least 1")
        require(self.decoder_sparse_step >= 1, "decoder_sparse_step", "must be at least 1")
        numbers = [layer for layer in self.mlp_only_layers or [] if type(layer) is int]
        require(
            len(numbers) == len(self.mlp_only_layers or [])
            and all(0 <= layer < MAX_LAYERS for layer in numbers),
            "mlp_only_layers",
            "must be a list of layer numbers, counted from 0",
        )
