"""The options and the result of `tfcli compose`."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from tfcli.families import FamilyFile
from tfcli.recipe.marks import Only
from tfcli.recipe.shared_keys import LARGEST_FILE, Seed, Size, StoredDtype
from tfcli.recipe.spec import ModelRef, OutputPath, Result, Section, Spec

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}")
_TAKEN = ("text", "images", "videos")
_QUERIES = ("qformer", "resampler")


class Encoder(Section):
    """An encoder, and how its states become features among the tokens."""

    stands_for: ClassVar[str | None] = "model"

    model: ModelRef = Field(
        description="The encoder's checkpoint, of any container: a tower by itself "
        "(clip_vision_model), or a model with one tower for another medium than text, of which "
        "the tower is taken (llava, clip)."
    )
    projector: Literal["linear", "mlp", "qformer", "resampler"] = Field(
        "linear",
        description="The new layers between the encoder and the language model: one linear; two "
        "with an activation between; or learned queries that gather what the states say, as in "
        "BLIP-2 (qformer) or Flamingo (resampler).",
    )
    activation: Annotated[str, Only(projector=("mlp", *_QUERIES))] = Field(
        "gelu", description="The activation within the projector."
    )
    token: str | None = Field(
        None,
        min_length=1,
        description="The token that stands for a medium in a text. It is added to the tokenizer "
        "where that lacks it. Without the key it is the encoder's name in angle brackets, and "
        "<image> for vision.",
    )
    feature_layer: int = Field(
        -1,
        description="Which layer's states are taken: 0 is what the first block gets, -1 what the "
        "last one gives.",
    )
    drop_first: bool = Field(
        False,
        description="Leave out the first state, which stands for the whole image in some towers.",
    )
    num_queries: Annotated[int, Only(projector=_QUERIES)] = Field(
        32, ge=1, description="How many features a medium has."
    )
    projector_layers: Annotated[int, Only(projector=_QUERIES)] = Field(
        2, ge=1, description="How many blocks the projector has."
    )


class ComposedModel(Section):
    """What is put together."""

    language_model: ModelRef = Field(
        description="A checkpoint with a language-model head and a tokenizer, of any container, or "
        "a hub id."
    )
    encoders: dict[str, Encoder] = Field(
        min_length=1,
        description="The encoders by name; a path alone stands for the key model.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        owner: dict[str, str] = {}
        for name in self.encoders:
            if not _NAME.fullmatch(name) or name in _TAKEN:
                raise ValueError(
                    f"an encoder cannot be called {name[:60]!r}: letters, digits and _ make a "
                    f"name, and {', '.join(_TAKEN)} are taken"
                )
            token = self.token_of(name)
            other = owner.setdefault(token, name)
            if other != name:
                raise ValueError(f"the encoders {other} and {name} have one token, {token}")
        return self

    def token_of(self, name: str) -> str:
        """The token that stands for an encoder's media in a text."""
        return self.encoders[name].token or ("<image>" if name == "vision" else f"<{name}>")


class ComposeSpec(Spec):
    """Put a language model and encoders of images, audio or other media together.

    A recipe names the encoders: model.encoders.NAME is a checkpoint, or a mapping with keys such as
    model, projector and token (docs/weights.md has an example). The weights are those of the
    checkpoints; projectors between them are new and want training. The output is one folder with
    the model, a tokenizer that has the encoders' tokens, and a processor for text and media.
    """

    verb: ClassVar[str] = "compose"
    positional: ClassVar[tuple[str, ...]] = ("output",)

    model: ComposedModel = Field(description="What is put together.")
    output: OutputPath | None = Field(
        None, description="The folder to write; a dry run needs none."
    )
    seed: Seed = Field(0, description="Decides the values of new projectors.")
    dtype: StoredDtype = Field(
        None,
        description="The type of all floating-point weights. Without it each tensor has the type "
        "that it has in its checkpoint, and projectors that of the language model.",
    )
    shard_size: Size = Field("5GB", description=LARGEST_FILE)
    dry_run: bool = Field(
        False,
        description="Check everything that can be checked without weights, say what would be "
        "written, and write nothing.",
    )
    family_file: FamilyFile = None

    @model_validator(mode="after")
    def _has_output(self) -> Self:
        if self.output is None and not self.dry_run:
            raise ValueError("output is missing: name the folder to write, or ask for a dry_run")
        return self

    def target(self) -> str | None:
        return None if self.dry_run else self.output

    def only_looks(self) -> bool:
        return self.dry_run


class ComposedEncoder(BaseModel):
    """One encoder of what was written."""

    name: str = Field(description="The encoder's name.")
    model_type: str = Field(description="The family of its tower.")
    tower: str = Field(
        description="Where the tower is in its checkpoint's model; empty where it is all of it."
    )
    token: str = Field(description="The token that stands for its media in a text.")
    token_id: int = Field(description="The token's id.")
    new_token: bool = Field(description="Whether the tokenizer lacked the token.")
    projector: str = Field(description="The kind of its projector.")
    projector_parameters: int = Field(description="How many new values the projector has.")
    processor: str = Field(description="What prepares its media.")
    features: int = Field(
        description="How many features, and tokens of a text, an image of the processor's size or "
        "a second of audio has."
    )
    skipped: dict[str, str] = Field(
        description="Tensors of its checkpoint that are no part of the tower -> why."
    )


Action = Literal["copied", "converted", "new"]


class ComposedTensor(BaseModel):
    """What a tensor was made of."""

    name: str = Field(description="The tensor's name in what is written.")
    part: str = Field(
        description="`language_model`, an encoder's name, or `projector` and an encoder's name."
    )
    action: Action = Field(
        description="`copied` bit for bit, `converted` to another type or layout, or `new`: drawn "
        "by the seed and its name."
    )
    source: str = Field(description="The tensor's name in its checkpoint; empty for a new one.")
    dtype: str = Field(description="The tensor's type, as safetensors spells it.")
    shape: list[int] = Field(description="The tensor's dimensions.")


class ComposeResult(Result):
    """What `tfcli compose` wrote."""

    schema_name: ClassVar[str] = "tfcli.compose/1"

    dry_run: bool = Field(description="True where nothing was written.")
    language_model: str = Field(description="The family of the language model.")
    encoders: list[ComposedEncoder] = Field(description="The encoders, in order.")
    skipped: dict[str, str] = Field(
        description="Tensors of the language model's checkpoint that are not needed -> why."
    )
    chat_template: bool | None = Field(
        description="Whether media in a message become their tokens; null without a template."
    )
    notes: list[str] = Field(description="What a person should know of what was put together.")
    copied: int = Field(description="How many tensors were copied bit for bit.")
    converted: int = Field(description="How many tensors changed their type or layout.")
    new: int = Field(description="How many tensors are new.")
    bytes: int = Field(description="Bytes of the tensors: the disk that is needed.")
    files: list[str] = Field(description="The weight files, in order.")
    verified: int = Field(
        description="How many tensors were read back and compared with a second pass."
    )
    companions: list[str] = Field(description="The tokenizer, processor and other files beside.")
    tensors: list[ComposedTensor] = Field(description="What each tensor was made of.")
