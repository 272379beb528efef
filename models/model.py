"""The base class of every model: what loading, saving, training and calibration ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models import parts
from tfcli.models.backbone import Backbone
from tfcli.models.cache import Cache, make_cache
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.chunked_loss import chunked_token_loss
from tfcli.models.config import BaseConfig
from tfcli.models.context import Context
from tfcli.models.errors import ModelError
from tfcli.models.layers.quantized_linear import QuantizedLinear
from tfcli.models.layouts.packing import buffer_of
from tfcli.models.layouts.registry import layout_of
from tfcli.models.losses import token_loss
from tfcli.models.output import ModelOutput
from tfcli.models.rules import Place, Rule, place_of


class Model(nn.Module):
    """A family's backbone with a head. The registry joins the two into a class.

    Class attributes:
        task: the registry's name of the head.
        body_class: the family's backbone. A head on a part of it names the part's itself.
        body_field: the field of the config that has that part's; None: the backbone is whole.
        pools: the head asks for the backbone's pooled state.
        headless: there is no head, and checkpoints leave the backbone's prefix out.
        word_head: the linear that makes scores of words of the backbone's states, and nothing else
            reads these; None where the head is something else.
        takes: keywords of `forward` that are options of `context.begin`.
        keywords: those that only the head looks at.

    Args:
        config: the family's config.
        attention: name of the attention backend.
    """

    task: ClassVar[str]
    body_class: ClassVar[type[Backbone[Any]]]
    body_field: ClassVar[str | None] = None
    pools: ClassVar[bool] = False
    headless: ClassVar[bool] = False
    word_head: ClassVar[str | None] = None
    takes: ClassVar[tuple[str, ...]] = (
        "attention_mask",
        "position_ids",
        "segment_ids",
        "output_hidden_states",
        "output_attentions",
    )
    keywords: ClassVar[tuple[str, ...]] = ("return_logits",)

    config: BaseConfig

    def __init__(self, config: BaseConfig, attention: str = "sdpa") -> None:
        super().__init__()
        self.config = config
        self.attention = attention
        self.checkpointing = False
        self.prompts: Any = None  # virtual tokens of adapters; see `adapters.prompts`
        body = self.body_class(self.body_config(config), attention)
        if self.pools:
            body.add_pooler()
        setattr(self, self.base(), body)
        self.add_head()
        self.tie_weights()

    def add_head(self) -> None:
        """Make the head's parameters."""

    @classmethod
    def base(cls) -> str:
        """The attribute that holds the backbone."""
        return cls.body_class.prefixes.get(cls.task, cls.body_class.prefix)

    @classmethod
    def body_config(cls, config: BaseConfig) -> BaseConfig:
        """The backbone's part of a model's config."""
        if cls.body_field is None:
            return config
        part: BaseConfig = getattr(config, cls.body_field)
        return part

    @classmethod
    def bare(cls) -> bool:
        """Whether checkpoints store the backbone's parameters without its prefix."""
        return cls.headless or cls.body_class.bare

    @classmethod
    def rules_of(cls, config: BaseConfig) -> tuple[Rule, ...]:
        """How checkpoints differ from the parameters of a model with this config."""
        return parts.rules_of(cls.body_class, cls.body_config(config))

    @classmethod
    def ignorable_of(cls, config: BaseConfig) -> dict[str, str]:
        """Regular expression on a checkpoint's name -> why the tensor is not needed."""
        return parts.ignorable_of(cls.body_class, cls.body_config(config))

    @classmethod
    def possible_ties(cls, config: BaseConfig) -> dict[str, str]:
        """Parameter -> the one that it shares when config.tie_word_embeddings is set."""
        return {}

    @classmethod
    def ties_of(cls, config: BaseConfig) -> dict[str, str]:
        """The ties that a config asks for."""
        return cls.possible_ties(config) if config.tie_word_embeddings else {}

    def rules(self) -> tuple[Rule, ...]:
        """How checkpoints differ from the model's parameters."""
        return self.rules_of(self.config)

    def place_of(self, name: str) -> Place:
        """Where a checkpoint keeps a parameter or a buffer.

        The tensors of a packed weight lie there as they are, also where the dense weight would be
        transposed, in a stack, or have another name: configs name modules, and a part of a packed
        weight is called after its own.
        """
        place, own = place_of(self.rules(), name), place_of((), name)
        if place == own:
            return place
        path, _, leaf = name.rpartition(".")
        module = self.get_submodule(path)
        packed = isinstance(module, QuantizedLinear) and leaf in map(buffer_of, module.parts)
        return own if packed else place

    @property
    def head_names(self) -> tuple[str, ...]:
        """What configs call the head of words: Hugging Face's module and, of a family whose
        checkpoints call it otherwise, that name, which other programs have for the module too."""
        if self.word_head is None:
            return ()
        stored = place_of(self.rules(), f"{self.word_head}.weight").name
        return tuple(dict.fromkeys((self.word_head, stored.removesuffix(".weight"))))

    def other_names(self) -> dict[str, str]:
        """How other programs spell parts of packed weights -> ours: transformers 5, when it saves,
        renames them as it renames dense weights."""
        found, prefix = {}, f"{self.base()}."
        for path, module in self.named_modules():
            for part in module.parts if isinstance(module, QuantizedLinear) else ():
                name = f"{path}.{buffer_of(part)}"
                place, own = place_of(self.rules(), name), place_of((), name).name
                if place.index is None and place.name != own:
                    found[place.name] = own
                    found[place.name.removeprefix(prefix)] = own.removeprefix(prefix)
        return found

    def ignorable(self) -> dict[str, str]:
        """Regular expression on a checkpoint's name -> why the tensor is not needed."""
        found = self.ignorable_of(self.config)
        if self.config.quantization is None:
            return found
        return {**found, **layout_of(self.config.quantization).unused}

    def active_ties(self) -> dict[str, str]:
        """The ties that this model's config asks for."""
        return self.ties_of(self.config)

    @property
    def body(self) -> Backbone[Any]:
        """The backbone."""
        body: Backbone[Any] = getattr(self, self.base())
        return body

    @property
    def walks(self) -> tuple[CalibrationWalk, ...]:
        """The chains of blocks whose linears can be quantized, one a part that has one."""
        return self._from_here(parts.walks_of(self.body))

    @property
    def text_walks(self) -> tuple[CalibrationWalk, ...]:
        """Those of `walks` that a text runs through; towers of other media are none of them."""
        return self._from_here(parts.text_walks_of(self.body))

    def _from_here(self, walks: Sequence[CalibrationWalk]) -> tuple[CalibrationWalk, ...]:
        """Walks of the backbone with paths from the model."""
        return tuple(replace(walk, blocks=f"{self.base()}.{walk.blocks}") for walk in walks)

    @property
    def calibration(self) -> CalibrationWalk:
        """The one chain of blocks of a model that has one.

        Raises:
            ModelError: the family declares none, or several parts have one.
        """
        walks = self.walks
        if len(walks) == 1:
            return walks[0]
        several = "several chains of blocks" if walks else "no calibration walk"
        raise ModelError(
            f"{self.config.model_type} declares {several}, so it cannot be quantized",
            where=type(self).__name__,
        )

    @property
    def blocks(self) -> list[nn.Module]:
        """The repeated blocks of all parts, the units of sharding.

        Raises:
            ModelError: the family declares none.
        """
        paths = parts.block_lists_of(self.body)
        if not paths:
            raise ModelError(
                f"{self.config.model_type} declares no list of blocks", where=type(self).__name__
            )
        return [block for path in paths for block in self.body.get_submodule(path).children()]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the parameters."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

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

    def make_cache(
        self, kind: str = "dynamic", length: int | None = None, **settings: Any
    ) -> Cache:
        """An empty cache for this model; see `cache.make_cache`."""
        if self.prompts is not None and length is not None:
            length += self.prompts.count
        return make_cache(self, kind, length, **settings)

    def default(self, name: str) -> torch.Tensor | None:
        """The value of a buffer that checkpoints may leave out; None if it must be there."""
        inner = name.removeprefix(f"{self.base()}.")
        if inner == name:
            return None
        owner, inner = parts.owner_of(self.body, inner)
        return owner.default(inner)

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        """Values of a new parameter of the head that is neither a matrix, a bias nor a norm; None
        if it is."""
        return None

    def may_be_new(self, name: str) -> bool:
        """Whether a parameter may start at random when a checkpoint gets a new head."""
        inner = name.removeprefix(f"{self.base()}.")
        if inner == name:
            return True
        owner, inner = parts.owner_of(self.body, inner)
        return bool(inner.startswith(owner.optional))

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

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *,
        labels: torch.Tensor | None = None,
        num_target_tokens: int | torch.Tensor | None = None,
        **inputs: Any,
    ) -> ModelOutput:
        """Answer the task's question.

        Args:
            input_ids (Tensor): [b, s], of families that read tokens.
            attention_mask (Tensor): [b, cached + s], 1 for a token, 0 for padding on either side.
            labels (Tensor): what the task's loss takes, see the head.
            num_target_tokens: divides the summed loss, where targets are tokens; see
                `losses.token_loss`.
            position_ids (Tensor): [b or 1, s]; by default counted from each row's first token.
            segment_ids (Tensor): [b, s], for several texts packed into a row; see `Sight`.
            inputs_embeds (Tensor): [b, s, d], in place of the family's main input, before
                positions are added.
            return_logits: without, the output has `last_hidden_state` in their place. A head that
                predicts words makes them a few at a time, by `logits_of`, also for its loss.
            output_hidden_states: return them.
            output_attentions: return attention weights, which forgoes the fused backends.
            inputs: these, and what else the head (`takes`, `keywords`) and the backbone
                (`Backbone.inputs`) take by name.

        Returns:
            the logits of the task, the loss if labels were given, and what was asked for

        Raises:
            ModelError: inputs that do not fit together, or are too long.
            TypeError: a name that neither the head nor the family takes.
        """
        given = {"input_ids": input_ids, "attention_mask": attention_mask, **inputs}
        x, output = self.run(given)
        self.finish(x, output, given, labels, num_target_tokens)
        return output

    def finish(
        self,
        x: torch.Tensor,
        output: ModelOutput,
        inputs: Mapping[str, Any],
        labels: torch.Tensor | None,
        num_target_tokens: int | torch.Tensor | None,
    ) -> None:
        """Put the logits into the output, and the loss if there are labels.

        Args:
            x (Tensor): [b, s, d], the backbone's states.
            output: of the forward pass.
            inputs: every other keyword that `forward` was given.
            labels: as `forward` was given them.
            num_target_tokens: the same.
        """
        more = {} if num_target_tokens is None else {"num_target_tokens": num_target_tokens}
        if not inputs.get("return_logits", True):
            output.last_hidden_state = x
            if labels is not None:
                output.loss = chunked_token_loss(self.logits_of, x, labels, **more)
            return
        output.logits = self.answer(x, inputs)
        if labels is not None:
            output.loss = self.loss(output.logits, labels, **more)

    def answer(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The logits.

        Args:
            x (Tensor): [b, s, d], the backbone's states.
            inputs: see `finish`.
        """
        raise TypeError(f"{type(self).__name__} defines no answer")

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, **more: Any) -> torch.Tensor:
        """The loss of the task, []."""
        return token_loss(logits, labels, **more)

    def run(self, inputs: Mapping[str, Any]) -> tuple[torch.Tensor, ModelOutput]:
        """Run the backbone.

        Args:
            inputs: what `forward` was given by name, of the head and of the backbone.

        Returns:
            the states [b, s, d], and an output with what else was asked for

        Raises:
            TypeError: a name that the family does not take.
            ModelError: inputs that do not fit together.
        """
        options = {name: value for name, value in inputs.items() if name in self.takes}
        known = (*self.takes, *self.keywords)
        others = {name: value for name, value in inputs.items() if name not in known}
        if self.prompts is not None:
            options = self.prompts.opened(self, options, others)
        x, context = self.body.begin(others, checkpointing=self.checkpointing, **options)
        length = x.shape[1]
        x = self.body(x, context)
        if context.cache is not None:
            context.cache.advance(length)
        output = recorded(context)
        output.cache = inputs.get("cache")
        return x, output


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
        image_hidden_states=context.inputs.get("image_features"),
        mems=context.inputs.get("new_mems"),
        video_hidden_states=context.inputs.get("video_features"),
    )
