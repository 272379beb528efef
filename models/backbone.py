"""The base class of a family's body: token ids to states, without a head."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.config import ModelConfig
from tfcli.models.context import Context
from tfcli.models.rules import Rule


class Backbone(nn.Module):
    """What every family has. A subclass is made with `(config, attention)`.

    Class attributes:
        prefix: what Hugging Face's head models call the attribute that holds it.
        prefixes: task -> another prefix, where a family's heads do not agree.
        bare: head models store its parameters without the prefix (T5).
        tokens: path of the token table, which a language-model head may share.
        inputs: keyword tensors beside the common ones that `forward` takes, such as
            `token_type_ids`.
        rules: how checkpoints differ from the model's parameters.
        ignorable: regular expression on a checkpoint's name -> why the tensor is not needed.
        optional: prefixes of its parameters that not every task has, such as a pooler's. They
            may start at random, and are left out where a task does not use them.
        walk: blocks and linears, for quantization; paths begin at the backbone. A family without
            one cannot be quantized.
        packs: several texts can be packed into a row, see `segment_ids`.
        init_cutoff: values of new matrices lie within so many standard deviations; None: anywhere.
    """

    prefix: ClassVar[str] = "model"
    prefixes: ClassVar[dict[str, str]] = {}
    bare: ClassVar[bool] = False
    tokens: ClassVar[str] = "embed_tokens"
    inputs: ClassVar[tuple[str, ...]] = ()
    rules: ClassVar[tuple[Rule, ...]] = ()
    ignorable: ClassVar[dict[str, str]] = {}
    optional: ClassVar[tuple[str, ...]] = ()
    walk: CalibrationWalk  # of the class, or of the object where it follows from the config
    packs: ClassVar[bool] = True
    init_cutoff: float | None = None

    config: ModelConfig

    def forward(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        context: Context,
        **inputs: torch.Tensor | None,
    ) -> torch.Tensor:
        """Encode tokens.

        Args:
            input_ids (Tensor): [b, s]
            inputs_embeds (Tensor): [b, s, d], in place of input_ids.
            context: of the forward pass.
            inputs: those of `Backbone.inputs`; None where not given.

        Returns:
            [b, s, d], after the final norm
        """
        raise TypeError(f"{type(self).__name__} defines no forward")

    def add_pooler(self, config: ModelConfig) -> None:
        """Make the layers that `pooled` needs, for the heads that call it."""

    @classmethod
    def head_bias(cls, config: ModelConfig) -> bool:
        """Whether the language-model head has a bias."""
        return False

    def adjust_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """What the family does to the scores of words (a cap, a scale). [b, s, vocab] -> same"""
        return logits

    def width(self) -> int:
        """Size of the states that heads get."""
        return self.config.hidden_size

    def pooled(self, x: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """One state for each row, for classifiers of a whole input.

        Args:
            x (Tensor): [b, s, d]
            attention_mask (Tensor): [b, s] of 0/1, or None.

        Returns:
            [b, d]; the state of the first token, unless the family has a pooler
        """
        return first_states(x, attention_mask)

    def init_std(self, name: str) -> float:
        """Standard deviation of a new matrix. Names begin at the backbone."""
        return self.config.initializer_range

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        """Values of a new parameter that is neither a matrix, a bias nor a norm; None if it is."""
        return None

    def drawn(self, name: str, shape: torch.Size, random: torch.Generator) -> torch.Tensor | None:
        """Random values of a new parameter that is not drawn as the others; None if it is.

        Others are normal with `init_std` if they are matrices, 0 if biases, 1 if norms.
        """
        return None

    def default(self, name: str) -> torch.Tensor | None:
        """The value of a buffer that checkpoints may leave out; None if it must be there."""
        return None


def first_states(x: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """The state of each row's first token, which padding on the left moves. Returns [b, d]."""
    if attention_mask is None:
        return x[:, 0]
    first = attention_mask.long().argmax(-1)
    return x[torch.arange(x.shape[0], device=x.device), first]


def last_states(x: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """The state of each row's last token, which padding on the right moves. Returns [b, d]."""
    if attention_mask is None:
        return x[:, -1]
    at = torch.arange(x.shape[1], device=x.device)
    last = (at * attention_mask.long()).argmax(-1)
    return x[torch.arange(x.shape[0], device=x.device), last]
