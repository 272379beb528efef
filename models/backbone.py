"""The base class of a family's body: inputs to embeddings to states, without a head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.config import BaseConfig
from tfcli.models.context import Context, begin
from tfcli.models.errors import ModelError, hint
from tfcli.models.layers.embeddings import embed_inputs
from tfcli.models.registry import get_family
from tfcli.models.rules import Rule

C = TypeVar("C", bound=BaseConfig)


class Backbone(nn.Module, Generic[C]):
    """What every family has, alone or as a part of another model, such as a vision tower.

    A forward pass has three steps: `embed` makes vectors of the inputs, `begin` makes the context
    of the pass for them, and `forward` runs the blocks. `encode` does all three.

    Whatever makes a tensor in `__init__` and is no parameter says `device="cpu"`: models are built
    within `torch.device("meta")`, and such a tensor would have no values.

    Class attributes:
        prefix: what Hugging Face's head models call the attribute that holds it.
        prefixes: task -> another prefix, where a family's heads do not agree.
        bare: head models store its parameters without the prefix (T5).
        tokens: path of the token table, which a language-model head may share.
        main: the input that `embed` cannot do without, unless `inputs_embeds` are given.
        inputs: further inputs beside `main` that `embed` or the context's readers take, such as
            `token_type_ids`.
        parts: child that is a Backbone -> the field of the config with its own; see `parts.py`.
        rules: how checkpoints differ from the model's parameters.
        ignorable: regular expression on a checkpoint's name -> why the tensor is not needed.
        optional: prefixes of its parameters that not every task has, such as a pooler's. They
            may start at random, and are left out where a task does not use them.
        walk: blocks and linears, for quantization; paths begin at the backbone. A family without
            one cannot be quantized.
        groups_in_window: tokens that see each other (`groups_of`) do not see past a window.
        packs: several texts can be packed into a row, see `segment_ids`.
        init_cutoff: values of new matrices lie within so many standard deviations; None: anywhere.

    Args:
        config: the family's.
        attention: name of the attention backend.
    """

    prefix: ClassVar[str] = "model"
    prefixes: ClassVar[dict[str, str]] = {}
    bare: ClassVar[bool] = False
    tokens: ClassVar[str] = "embed_tokens"
    main: ClassVar[str] = "input_ids"
    inputs: ClassVar[tuple[str, ...]] = ()
    parts: ClassVar[dict[str, str]] = {}
    rules: ClassVar[tuple[Rule, ...]] = ()
    ignorable: ClassVar[dict[str, str]] = {}
    optional: ClassVar[tuple[str, ...]] = ()
    # Of the class, or of the object where it follows from the config.
    walk: CalibrationWalk | None = None
    groups_in_window: ClassVar[bool] = False
    packs: ClassVar[bool] = True
    init_cutoff: float | None = None

    config: C

    def __init__(self, config: C, attention: str = "sdpa") -> None:
        super().__init__()
        self.config = config
        self.attention = attention

    def make_part(self, field: str) -> Backbone[Any]:
        """The backbone of a nested config, which becomes a child under a name of `parts`."""
        config = getattr(self.config, field)
        return get_family(config.model_type).backbone_class()(config, self.attention)

    def embed(
        self,
        *,
        input_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **inputs: Any,
    ) -> torch.Tensor:
        """What `inputs_embeds` can be given in place of: the rows of the token table, by default.

        Args:
            input_ids (Tensor): [b, s]
            inputs_embeds (Tensor): [b, s, d], taken as they are.
            inputs: those of `inputs`, where they change what a token or place is.

        Returns:
            [b, s, d]

        Raises:
            ModelError: inputs that do not fit together.
        """
        table: Any = self.get_submodule(self.tokens)  # an adapter may stand in its place
        return embed_inputs(table, input_ids, inputs_embeds)

    def mask_of(
        self, attention_mask: torch.Tensor | None, inputs: Mapping[str, Any], x: torch.Tensor
    ) -> torch.Tensor | None:
        """Which of the embeddings are padding, where inputs and embeddings differ in length.

        Args:
            attention_mask (Tensor): as the caller gave it, or None.
            inputs: of the forward pass.
            x (Tensor): [b, s, d], the embeddings.

        Returns:
            [b, cached + s] of 0/1, or None
        """
        return attention_mask

    def groups_of(self, x: torch.Tensor, context: Context) -> torch.Tensor | None:
        """Which of the embeddings see each other whatever their order.

        Args:
            x (Tensor): [b, s, d], the embeddings.
            context: of the forward pass: its inputs, and the places of the new tokens in the rows.

        Returns:
            as `Context.join` takes it, or None for none
        """
        return None

    def positions_of(self, context: Context) -> torch.Tensor:
        """The positions of the new tokens, where the caller gave none.

        Args:
            context: of the forward pass; its `positions` are counted, [b or 1, s].

        Returns:
            as `Context.positions`
        """
        return context.positions

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Run the blocks.

        Args:
            x (Tensor): [b, s, d], from `embed`.
            context: of the forward pass; has the other inputs.

        Returns:
            [b, s, d], after the final norm
        """
        raise TypeError(f"{type(self).__name__} defines no forward")

    def begin(self, inputs: Mapping[str, Any], **options: Any) -> tuple[torch.Tensor, Context]:
        """The embeddings [b, s, d] and the context of one forward pass.

        Args:
            inputs: by name: `main`, `inputs_embeds` and those of `inputs`.
            options: those of `context.begin`.

        Raises:
            ModelError: inputs that do not fit together.
            TypeError: an input that the family does not take.
        """
        given = {name: value for name, value in inputs.items() if value is not None}
        for name in given:
            if name not in self.accepted():
                # As Python says it of a function's arguments.
                known = hint(name, (*self.accepted(), "attention_mask"))
                raise TypeError(f"{type(self).__name__} takes no argument {name!r} ({known})")
        if options.get("segment_ids") is not None and not self.packs:
            raise ModelError(f"{self.config.model_type} takes no packed texts (segment_ids)")
        given = self.prepare(given)
        x = self.embed(**given)
        mask = self.mask_of(options.pop("attention_mask", None), given, x)
        context = begin(x, attention_mask=mask, inputs=given, **options)
        groups = self.groups_of(x, context)
        if groups is not None:
            context.join(groups, x.shape[0], in_window=self.groups_in_window)
        if not context.placed:
            context.positions = self.positions_of(context)
        return x, context

    def encode(self, **inputs: Any) -> torch.Tensor:
        """Embed, begin and forward: what a tower is called with.

        Args:
            inputs: those of `begin`, and `attention_mask`.

        Returns:
            [b, s, d]; see `forward`
        """
        options = {name: inputs.pop(name) for name in ("attention_mask",) if name in inputs}
        x, context = self.begin(inputs, **options)
        return self(x, context)

    def states(self, inputs: Mapping[str, Any], **options: Any) -> list[torch.Tensor]:
        """The states of every layer: the first block's input, each block's output; [b, s, d] each.

        Arguments are those of `begin`.
        """
        x, context = self.begin(inputs, output_hidden_states=True, **options)
        self(x, context)
        assert context.hidden_states is not None
        return context.hidden_states

    def prepare(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs of a forward pass with what is made of them first, such as features of media.

        Args:
            inputs: those that were given.
        """
        return inputs

    def accepted(self) -> tuple[str, ...]:
        """The inputs that `begin` takes by name."""
        return tuple(dict.fromkeys((self.main, "inputs_embeds", *self.inputs)))

    def add_pooler(self) -> None:
        """Make the layers that `pooled` needs, for the heads that call it."""

    def head_bias(self) -> bool:
        """Whether the language-model head has a bias."""
        return False

    def adjust_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """What the family does to the scores of words (a cap, a scale). [b, s, vocab] -> same"""
        return logits

    def width(self) -> int:
        """Size of the states that heads get."""
        return self.config.width

    def pooled(self, x: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """One state for each row, for classifiers of a whole input.

        Args:
            x (Tensor): [b, s, d]
            attention_mask (Tensor): [b, s] of 0/1, or None.

        Returns:
            [b, d]; the state of the first token, unless the family has a pooler
        """
        return first_states(x, attention_mask)

    def pooler_output(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor | None:
        """What transformers' model of the family gives under this name; None: it has no pooler.

        Args:
            x (Tensor): [b, s, d]
            inputs: of the forward pass.

        Returns:
            [b, d]
        """
        return self.pooled(x, inputs.get("attention_mask"))

    @classmethod
    def ignorable_for(cls, config: BaseConfig) -> dict[str, str]:
        """`ignorable`, where some of it follows from the config: no name of a parameter matches."""
        return cls.ignorable

    @classmethod
    def part_configs(cls, config: BaseConfig) -> dict[str, BaseConfig]:
        """Path of each child that is a backbone -> its config."""
        found = {name: getattr(config, field, None) for name, field in cls.parts.items()}
        return {name: nested for name, nested in found.items() if nested is not None}

    @classmethod
    def tower_class(cls) -> type[Backbone[Any]]:
        """What of the family is an encoder of a medium by itself; a part where there is more."""
        return cls

    @classmethod
    def tower_path(cls) -> str:
        """Path of the child that `tower_class` is the class of; empty for the backbone itself."""
        return ""

    @classmethod
    def tokens_of(cls, config: BaseConfig) -> str:
        """Path of the token table, which may be a part's."""
        return cls.tokens

    def own_walks(self) -> tuple[CalibrationWalk, ...]:
        """The chains of blocks with linears that can be quantized, in the order in which they run,
        those of parts not among them. Paths begin here."""
        walk = getattr(self, "walk", None)
        return () if walk is None else (walk,)

    def block_lists(self) -> tuple[str, ...]:
        """Paths of the lists of repeated blocks, those of parts not among them."""
        walk = getattr(self, "walk", None)
        return () if walk is None else (walk.blocks,)

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
