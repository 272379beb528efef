"""What `tfcli chat` takes and gives."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tfcli.families import FamilyFile
from tfcli.generation.keys import GenerationKeys
from tfcli.recipe.shared_keys import Attention, ComputeDtype, Device, LoadIn
from tfcli.recipe.spec import InputPath, ModelRef, OutputPath, Result, Spec


class ChatSpec(GenerationKeys, Spec):
    """Talk with a model that has a chat template."""

    verb: ClassVar[str] = "chat"
    loads_first: ClassVar[bool] = True
    positional: ClassVar[tuple[str, ...]] = ("model",)

    model: ModelRef = Field(
        description="The model: a folder or file of any container, an adapter's folder, or a hub "
        "id org/name[:file][@revision]."
    )
    system: str | None = Field(None, description="The system message.")
    tools: InputPath | None = Field(
        None,
        description="A JSON file with the functions that the model may call, as a list of their "
        "schemas. Its calls are shown; nothing is run.",
    )
    history: InputPath | None = Field(
        None, description="A conversation to go on with, as /save writes it."
    )
    dry_run: bool = Field(
        False,
        description="Show what the chat template makes of each message, with its ids, and load no "
        "weights.",
    )
    output: OutputPath | None = Field(None, description="The folder for the record of the result.")
    max_new_tokens: int = Field(1024, ge=1, description="An answer has at most so many tokens.")
    load_in: LoadIn = None
    dtype: ComputeDtype = "auto"
    device: Device = "auto"
    attention: Attention = "sdpa"
    cache: Literal["dynamic", "quantized8", "quantized4", "offloaded"] = Field(
        "dynamic", description="How keys and values of earlier turns are kept."
    )
    family_file: FamilyFile = None

    @model_validator(mode="after")
    def _answers_once(self) -> Self:
        for key in ("assistant_model", "negative_prompt", "num_return_sequences"):
            if key in self.given:
                raise ValueError(f"{key} is not for conversations: use it with tfcli generate")
        return self


class ChatResult(Result):
    """What was said in `tfcli chat`."""

    schema_name: ClassVar[str] = "tfcli.chat/1"

    model: str = Field(description="The model.")
    messages: list[dict[str, Any]] = Field(description="The conversation when it ended.")
    turns: int = Field(0, description="Answers that the model gave.")
    new_tokens: int = Field(0, description="Tokens of the answers.")
    read_tokens: int = Field(
        0,
        description="Tokens of prompts that the model read; those of earlier turns that were kept "
        "are none of them.",
    )
    seconds: float = Field(0.0, description="Time that the model took.")
