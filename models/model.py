"""The base class of every model: what loading, saving, training and calibration ask of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.cache import Cache
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.config import ModelConfig
from tfcli.models.context import Context, begin
from tfcli.models.errors import ModelError, hint
from tfcli.models.output import ModelOutput
from tfcli.models.rules import Rule


class Model(nn.Module):
    """A family's backbone with a head. The registry joins the two into a class.

    Class attributes:
        task: the registry's name of the head.
        body_class: the family's backbone.
        pools: the head asks for the backbone's pooled state.
        headless: there is no head, and checkpoints leave the backbone's prefix out.

    Args:
        config: the family's config.
        attention: name of the attention backend.
    """

    task: ClassVar[str]
    body_class: ClassVar[type[Backbone]]
    pools: ClassVar[bool] = False
    headless: ClassVar[bool] = False

    def __init__(self, config: ModelConfig, attention: str = "sdpa") -> None:
        super().__init__()
        self.config = config
        self.attention = attention
        self.checkpointing = False
        body = self.body_class(config, attention)
        body.config = config
        if self.pools:
            body.add_pooler(config)
        setattr(self, self.base(), body)
        self.add_head(config)
        self.tie_weights()

    def add_head(self, config: ModelConfig) -> None:
        """Make the head's parameters."""

    @classmethod
    def base(cls) -> str:
        """The attribute that holds the backbone."""
        return cls.body_class.prefixes.get(cls.task, cls.body_class.prefix)

    @classmethod
    def bare(cls) -> bool:
        """Whether checkpoints store the backbone's parameters without its prefix."""
        return cls.headless or cls.body_class.bare

    @classmethod
    def rules(cls) -> tuple[Rule, ...]:
        """How checkpoints differ from the model's parameters."""
        return cls.body_class.rules

    @classmethod
    def ignorable(cls) -> dict[str, str]:
        """Regular expression on a checkpoint's name -> why the tensor is not needed."""
        return cls.body_class.ignorable

    @classmethod
    def ties(cls) -> dict[str, str]:
        """Parameter -> the one that it shares when config.tie_word_embeddings is set."""
        return {}

    @property
    def body(self) -> Backbone:
        """The backbone."""
        body: Backbone = getattr(self, self.base())
        return body

    @property
    def calibration(self) -> CalibrationWalk:
        """The blocks and linears, for quantization.

        Raises:
            ModelError: the family declares none.
        """
        walk = getattr(self.body, "walk", None)
        if walk is None:
            raise ModelError(
                f"{self.config.model_type} declares no calibration walk, so it cannot be quantized",
                where=type(self).__name__,
            )
        return replace(walk, blocks=f"{self.base()}.{walk.blocks}")

    @property
    def blocks(self) -> nn.ModuleList:
        """The repeated blocks, the units of sharding and of calibration."""
        blocks = self.get_submodule(self.calibration.blocks)
        assert isinstance(blocks, nn.ModuleList)
        return blocks

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the parameters."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @classmethod
    def ties_of(cls, config: ModelConfig) -> dict[str, str]:
        """The ties that a config asks for."""
        return cls.ties() if config.tie_word_embeddings else {}

    def active_ties(self) -> dict[str, str]:
        """The ties that this model's config asks for."""
        return self.ties_of(self.config)

    def tie_weights(self) -> None:
        """Make each tied parameter the very object that it shares."""
        for name, origin in self.active_ties().items():
            path, _, leaf = name.rpartition(".")
            setattr(self.get_submodule(path), leaf, self.get_parameter(origin))

    def may_untie(self, name: str) -> bool:
        """Whether a checkpoint may hold a tied parameter apart, whatever its config says."""
        return False

    def untie(self) -> None:
        """Take the config's word back that the head shares the token table."""
        self.config = self.body.config = self.config.replace(tie_word_embeddings=False)

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Trade time for memory: recompute each block in the backward pass."""
        self.checkpointing = enabled

    def default(self, name: str) -> torch.Tensor | None:
        """The value of a buffer that checkpoints may leave out; None if it must be there."""
        inner = name.removeprefix(f"{self.base()}.")
        return None if inner == name else self.body.default(inner)

    def may_be_new(self, name: str) -> bool:
        """Whether a parameter may start at random when a checkpoint gets a new head."""
        inner = name.removeprefix(f"{self.base()}.")
        return inner == name or bool(inner.startswith(self.body_class.optional))

    def logits_of(self, states: torch.Tensor) -> torch.Tensor:
        """The scores of words at some states, in heads that predict words: what `forward` makes
        of its states, for those who want them a few at a time.

        Args:
            states (Tensor): [..., d], such as `ModelOutput.last_hidden_state`.

        Returns:
            [..., vocab]

        Raises:
            ModelError: the head predicts no words.
        """
        raise ModelError(
            f"a {self.task} model has no scores of words, so its loss needs its logits",
            where=type(self).__name__,
            fix="leave out return_logits",
        )

    def run(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        *,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        segment_ids: torch.Tensor | None = None,
        cache: Cache | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        inputs: dict[str, Any] | None = None,
    ) -> tuple[torch.Tensor, ModelOutput]:
        """Run the backbone.

        Args:
            input_ids (Tensor): [b, s]
            inputs_embeds (Tensor): [b, s, d], in place of input_ids.
            inputs: what else the caller was given by name; the backbone must know it.

        The others are those of `context.begin`.

        Returns:
            the states [b, s, d], and an output with what else was asked for

        Raises:
            TypeError: a name in `inputs` that the family does not take.
            ModelError: inputs that do not fit together.
        """
        inputs = {} if inputs is None else inputs
        for name in inputs:
            if name not in self.body_class.inputs:
                # As Python says it of a function's arguments.
                known = hint(name, (*self.body_class.inputs, "attention_mask", "labels"))
                raise TypeError(f"{type(self).__name__} takes no argument {name!r} ({known})")
        if (input_ids is None) == (inputs_embeds is None):
            raise ModelError("give exactly one of input_ids and inputs_embeds")
        if segment_ids is not None and not self.body_class.packs:
            raise ModelError(f"{self.config.model_type} takes no packed texts (segment_ids)")
        tokens = inputs_embeds if input_ids is None else input_ids
        assert tokens is not None
        context = begin(
            tokens,
            attention_mask=attention_mask,
            position_ids=position_ids,
            segment_ids=segment_ids,
            cache=cache,
            checkpointing=self.checkpointing,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        x = self.body(input_ids, inputs_embeds, context, **inputs)
        if cache is not None:
            cache.length += tokens.shape[1]
        return x, recorded(context)


def recorded(context: Context) -> ModelOutput:
    """An output with what a context has recorded."""
    states, weights = context.hidden_states, context.attentions
    crossed = context.cross_attentions
    return ModelOutput(
        hidden_states=None if states is None else tuple(states),
        attentions=None if weights is None else tuple(weights),
        cross_attentions=None if crossed is None else tuple(crossed),
        cache=context.cache,
        aux_loss=context.aux_loss,
    )
