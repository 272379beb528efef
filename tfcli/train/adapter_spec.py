"""The keys of an adapter, under PEFT's names too."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from tfcli.recipe.marks import Also, Only, Spellings
from tfcli.recipe.spec import Section

LORA = Only(type=("lora",))
ADALORA = Only(type=("adalora",))
FACTORS = Only(type=("lora", "adalora"))
CHANGES = Only(type=("lora", "adalora", "ia3"))
PROMPTS = Only(type=("prefix-tuning", "prompt-tuning", "p-tuning"))
ENCODED = Only(type=("p-tuning",))
RECURRENT = Only(type=("p-tuning",), encoder=("lstm",))


class AdapterSection(Section):
    """What is trained beside a frozen model."""

    stands_for: ClassVar[str | None] = "type"

    type: Annotated[
        Literal["lora", "adalora", "ia3", "prefix-tuning", "prompt-tuning", "p-tuning"] | None,
        Also("peft_type"),
        Spellings(
            {
                "LORA": "lora",
                "ADALORA": "adalora",
                "IA3": "ia3",
                "PREFIX_TUNING": "prefix-tuning",
                "PROMPT_TUNING": "prompt-tuning",
                "P_TUNING": "p-tuning",
            }
        ),
    ] = Field(
        None,
        description="Train an adapter, and nothing of the model itself: lora, two thin matrices "
        "beside each weight, adalora, the same with ranks that training shares out, ia3, a factor "
        "for each output, or virtual tokens before every text: the keys and values of each layer "
        "(prefix-tuning), embeddings (prompt-tuning) or a network that makes these (p-tuning). A "
        "quantized model stays as it is (QLoRA). Left out, the model itself is trained.",
    )
    virtual_tokens: Annotated[int, PROMPTS, Also("num_virtual_tokens")] = Field(
        20, ge=1, description="How many virtual tokens stand before every text."
    )
    encoder: Annotated[
        Literal["mlp", "lstm"],
        ENCODED,
        Also("encoder_reparameterization_type"),
        Spellings({"MLP": "mlp", "LSTM": "lstm"}),
    ] = Field(
        "mlp",
        description="The network of p-tuning: three linear layers, or an LSTM in both directions "
        "with two of them.",
    )
    encoder_width: Annotated[int | None, ENCODED, Also("encoder_hidden_size")] = Field(
        None, ge=1, description="The width of its inner layers; left out, that of the embeddings."
    )
    encoder_layers: Annotated[int, RECURRENT, Also("encoder_num_layers")] = Field(
        2, ge=1, description="How many layers the LSTM has."
    )
    encoder_dropout: Annotated[float, RECURRENT] = Field(
        0.0, ge=0, lt=1, description="The share of what one of them tells the next that is dropped."
    )
    rank: Annotated[int, FACTORS, Also("r", "init_r")] = Field(
        8, ge=1, description="The rank of LoRA's matrices; of AdaLoRA's, at first."
    )
    target_rank: Annotated[int | None, ADALORA, Also("target_r")] = Field(
        None,
        ge=1,
        description="The mean rank of AdaLoRA's matrices in the end; left out, two thirds of rank.",
    )
    first_steps: Annotated[int, ADALORA, Also("tinit")] = Field(
        0, ge=0, description="Steps before AdaLoRA takes away the first ranks."
    )
    last_steps: Annotated[int, ADALORA, Also("tfinal")] = Field(
        0, ge=0, description="Steps at the end in which AdaLoRA's ranks stay as they are."
    )
    allocate_every: Annotated[int, ADALORA, Also("deltaT")] = Field(
        1, ge=1, description="Steps from one sharing out of AdaLoRA's ranks to the next."
    )
    betas: Annotated[tuple[float, float], ADALORA] = Field(
        (0.85, 0.85),
        description="How slowly AdaLoRA's picture of what matters follows each step, and of how "
        "far that varies; PEFT's beta1 and beta2.",
    )
    orthogonality: Annotated[float, ADALORA, Also("orth_reg_weight")] = Field(
        0.5,
        ge=0,
        description="The share in the loss of how far AdaLoRA's matrices are from orthonormal "
        "ones.",
    )
    alpha: Annotated[float, FACTORS, Also("lora_alpha")] = Field(
        16, gt=0, description="LoRA's product is multiplied by alpha / rank."
    )
    rslora: Annotated[bool, LORA, Also("use_rslora")] = Field(
        False, description="Multiply by alpha / sqrt(rank) instead: for high ranks."
    )
    dropout: Annotated[float, FACTORS, Also("lora_dropout")] = Field(
        0.0, ge=0, lt=1, description="The share of inputs that LoRA does not see in training."
    )
    dora: Annotated[bool, LORA, Also("use_dora")] = Field(
        False,
        description="Learn the lengths of a weight's rows apart from their directions (DoRA): "
        "often better at low ranks, and slower.",
    )
    start: Annotated[
        Literal["default", "gaussian", "pissa", "olora"], LORA, Also("init_lora_weights")
    ] = Field(
        "default",
        description="LoRA's first values: one matrix random and one of zeros (default, gaussian), "
        "or the weight's largest directions, which are taken out of it (pissa, olora). What is "
        "written is plain LoRA, of twice the rank for the last two.",
    )
    target_modules: Annotated[list[str] | str, CHANGES] = Field(
        "all-linear",
        description="The modules that change: a list of names or ends of names, a regular "
        "expression that matches whole names, or all-linear: every linear layer but the head.",
    )
    exclude_modules: Annotated[list[str] | str, CHANGES] = Field(
        default_factory=list, description="Modules that do not, named alike."
    )
    layers: Annotated[list[int] | None, CHANGES, Also("layers_to_transform")] = Field(
        None, description="The numbers of the blocks that change, from 0; left out, all."
    )
    feedforward_modules: Annotated[list[str] | str, Only(type=("ia3",))] = Field(
        default_factory=list,
        description="Targets whose inputs IA3 multiplies, not their outputs.",
    )
    modules_to_save: Annotated[list[str], CHANGES] = Field(
        default_factory=list,
        description="Modules that are trained whole beside the adapter, and stored with it.",
    )
    bias: Annotated[Literal["none", "all", "lora_only"], FACTORS] = Field(
        "none",
        description="Biases of the model that are trained too: none, all, or those of the modules "
        "that change.",
    )
    lr_ratio: Annotated[float | None, LORA] = Field(
        None,
        gt=0,
        description="LoRA's second matrices learn so many times as fast as the first (LoRA+); 16 "
        "is usual. Left out, alike.",
    )
    merge: Annotated[bool, CHANGES] = Field(
        False,
        description="Write the model with the adapter worked into its weights, not the adapter.",
    )

    @field_validator("start", mode="before")
    @classmethod
    def _peft_says_yes(cls, value: Any) -> Any:
        """PEFT's usual `init_lora_weights: true`."""
        return "default" if value is True else value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        for key in ("target_modules", "exclude_modules", "feedforward_modules"):
            value = getattr(self, key)
            try:
                re.compile(value if isinstance(value, str) else "")
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(f"{key}: {value!r} is no regular expression: {error}") from None
        if not all(0 < each < 1 for each in self.betas):
            raise ValueError(f"betas: {list(self.betas)} are not between 0 and 1")
        if self.type == "adalora" and self.final_rank > self.rank:
            raise ValueError(
                f"target_rank ({self.target_rank}) is more than rank ({self.rank}), which AdaLoRA "
                "begins with"
            )
        if self.encoder_dropout and self.encoder_layers == 1:
            raise ValueError(
                "encoder_dropout is between the layers of the LSTM, and encoder_layers is 1"
            )
        if self.dora and self.start in ("pissa", "olora"):
            raise ValueError(
                f"start: {self.start} takes something out of the weights that dora measures: "
                "leave out one of the two"
            )
        return self

    @property
    def final_rank(self) -> int:
        """The mean rank of AdaLoRA's matrices in the end."""
        return self.target_rank or max(1, self.rank * 2 // 3)

    @property
    def has_virtual_tokens(self) -> bool:
        """Whether positions before a text are trained, and no change of the model."""
        return self.type in ("prefix-tuning", "prompt-tuning", "p-tuning")
