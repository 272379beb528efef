"""What a new adapter is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Start = Literal["default", "gaussian", "pissa", "olora"]
AdapterType = Literal["lora", "adalora", "ia3", "prefix-tuning", "prompt-tuning", "p-tuning"]
PROMPTS = ("prefix-tuning", "prompt-tuning", "p-tuning")
"""Those that have virtual tokens and change no module."""
Biases = Literal["none", "all", "lora_only"]
ALL_LINEAR = "all-linear"
MOVING_STARTS = ("pissa", "olora")
"""Starts that take the product of the first factors out of the base."""


@dataclass(frozen=True)
class Allocation:
    """How AdaLoRA shares out ranks among the modules. The meanings are those of PEFT's config.

    Args:
        target_rank: the mean rank that is left of a module in the end.
        first_steps: before the first rank is taken away.
        last_steps: in which none is any more.
        every: steps from one sharing out to the next.
        beta1: how slowly the importance of a weight follows that of a step.
        beta2: the same of how far these vary.
        orthogonality: the share in the loss of how far factors are from being orthonormal.
        total_steps: of the training; None where that is not known yet.
    """

    target_rank: int = 8
    first_steps: int = 0
    last_steps: int = 0
    every: int = 1
    beta1: float = 0.85
    beta2: float = 0.85
    orthogonality: float = 0.5
    total_steps: int | None = None


@dataclass(frozen=True)
class Encoder:
    """The network of p-tuning. The meanings are those of PEFT's config.

    Args:
        kind: of the network.
        width: of its inner layers; None for that of the model's embeddings.
        layers: of the LSTM.
        dropout: between these.
    """

    kind: Literal["mlp", "lstm"] = "mlp"
    width: int | None = None
    layers: int = 2
    dropout: float = 0.0


@dataclass(frozen=True)
class AdapterSettings:
    """An adapter before it is on a model. The meanings are those of PEFT's configs.

    Args:
        type: `lora` (Hu et al. 2021), `adalora` (Zhang et al. 2023), `ia3` (Liu et al. 2022),
            `prefix-tuning` (Li & Liang 2021), `prompt-tuning` (Lester et al. 2021) or `p-tuning`
            (Liu et al. 2021).
        rank: of the two factors; of AdaLoRA's three at first.
        alpha: their product is multiplied by alpha / rank.
        dropout: share of a module's inputs that LoRA does not see while training.
        rslora: multiply by alpha / sqrt(rank) instead (Kalajdzievski 2023).
        dora: learn the length of each row apart from its direction (Liu et al. 2024).
        start: first values of the factors; see `starts`.
        target_modules: names or ends of names of modules, a regular expression that matches whole
            names, or `all-linear`.
        exclude_modules: modules that are none, given alike.
        layers: the numbers of the blocks whose modules are changed; None for all.
        modules_to_save: names or ends of names of modules that are trained whole.
        feedforward_modules: those of the targets whose inputs IA3 multiplies, not their outputs.
        bias: which biases of the base are trained: none, all, or those of changed modules.
        allocation: of AdaLoRA.
        virtual_tokens: of prefix, prompt and p-tuning.
        encoder: of p-tuning.
    """

    type: AdapterType = "lora"
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    rslora: bool = False
    dora: bool = False
    start: Start = "default"
    target_modules: tuple[str, ...] | str = ALL_LINEAR
    exclude_modules: tuple[str, ...] | str = ()
    layers: tuple[int, ...] | None = None
    modules_to_save: tuple[str, ...] = ()
    feedforward_modules: tuple[str, ...] | str = ()
    bias: Biases = "none"
    allocation: Allocation = Allocation()
    virtual_tokens: int = 20
    encoder: Encoder = Encoder()
