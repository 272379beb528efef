"""What the configs of decoders with a mixture of experts share."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_divides
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
    def shared_size(self) -> int:
        """Width of what all tokens go through beside their experts; 0: nothing."""
        return 0

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
            self.spelling("num_experts_per_tok"),
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharedExpertsConfig(ExpertsConfig):
    """DeepSeek's pattern: the first layers have one mlp, the others shared experts beside many.

    `routed_scaling_factor` is the factor on the weights of the chosen experts.
    """

    aliases: ClassVar[dict[str, str]] = {"n_routed_experts": "num_experts"}

    moe_intermediate_size: int
    n_shared_experts: int = 1
    first_k_dense_replace: int = 0
    norm_topk_prob: bool = False
    routed_scaling_factor: float = 1.0

    @property
    def expert_size(self) -> int:
        return self.moe_intermediate_size

    @property
    def shared_size(self) -> int:
        return self.n_shared_experts * self.moe_intermediate_size

    def sparse(self, layer: int) -> bool:
        return layer >= self.first_k_dense_replace

    def check(self) -> None:
        super().check()
        self.check_sizes("moe_intermediate_size", "n_shared_experts")
        require(self.first_k_dense_replace >= 0, "first_k_dense_replace", "is negative")

    def check_groups(self, groups: int, kept: int, speakers: int) -> None:
        """Refuse groups of experts that do not fit.

        Args:
            groups: how many there are.
            kept: how many of them a token can go to.
            speakers: so many of a group speak for it.
        """
        require_divides(groups, self.num_experts, "n_group", self.spelling("num_experts"))
        members = self.num_experts // groups
        require(
            members >= speakers,
            "n_group",
            f"leaves {members} expert a group; {speakers} speak for a group",
        )
        require(1 <= kept <= groups, "topk_group", f"is {kept}, but there are {groups} groups")
        require(
            self.num_experts_per_tok <= kept * members,
            "num_experts_per_tok",
            f"is {self.num_experts_per_tok}, more than topk_group groups hold",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupedConfig(SharedExpertsConfig):
    """Families with DeepSeek-V3's router: the two best of a group of experts speak for it."""

    n_group: int = 1
    topk_group: int = 1
    norm_topk_prob: bool = True

    def check(self) -> None:
        super().check()
        self.check_groups(self.n_group, self.topk_group, speakers=2)
