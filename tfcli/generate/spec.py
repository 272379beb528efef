"""What `tfcli generate` takes and gives."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tfcli.families import FamilyFile
from tfcli.recipe.marks import Above, Only
from tfcli.recipe.shared_keys import Attention, ComputeDtype, Device, Seed
from tfcli.recipe.spec import ModelRef, OutputPath, Result, Spec

DRAWN = Only(temperature=Above(0))
"""For keys of how tokens are drawn: at temperature 0 none is."""


class GenerateSpec(Spec):
    """Continue a prompt, or answer it with an encoder-decoder."""

    verb: ClassVar[str] = "generate"
    positional: ClassVar[tuple[str, ...]] = ("model", "prompt")

    model: ModelRef = Field(description="The model: a folder, or a hub id org/name[@revision].")
    prompt: str = Field(
        description="The text to continue, or with chat a user's message; for an encoder-decoder "
        "the text that it reads."
    )
    chat: bool = Field(
        False, description="Take the prompt as a user's message, in the model's chat template."
    )
    system: Annotated[str | None, Only(chat=(True,))] = Field(
        None, description="The system message before the user's."
    )
    output: OutputPath | None = Field(None, description="The folder for the record of the result.")
    max_new_tokens: int = Field(64, ge=1, description="Stop after this many tokens.")
    temperature: float = Field(
        0.0,
        ge=0,
        description="How freely tokens are drawn: 0 takes the likeliest token, 1 draws from the "
        "model's own probabilities.",
    )
    top_k: Annotated[int | None, DRAWN] = Field(
        None, ge=1, description="Draw only from this many of the likeliest tokens."
    )
    top_p: Annotated[float | None, DRAWN] = Field(
        None,
        gt=0,
        le=1,
        description="Draw only from the fewest likeliest tokens that have this probability "
        "together.",
    )
    seed: Annotated[Seed, DRAWN] = Field(
        0, description="The seed of the draws: equal seeds give equal text."
    )
    dtype: ComputeDtype = "auto"
    device: Device = "auto"
    attention: Attention = "sdpa"
    cache: Literal["static", "dynamic", "quantized8", "quantized4", "offloaded"] = Field(
        "static",
        description="How keys and values of earlier tokens are kept: allocated once, growing, in "
        "8 or 4 bits, or in the processor's memory. Recurrent models have a state in their place.",
    )
    family_file: FamilyFile = None


class GenerateResult(Result):
    """What `tfcli generate` made."""

    schema_name: ClassVar[str] = "tfcli.generate/1"

    model: str = Field(description="The model.")
    task: Literal["causal-lm", "seq2seq-lm"] = Field(
        description="Whether the prompt was continued, or read by an encoder and answered."
    )
    prompt: str = Field(description="The text that was given, or the user's message.")
    chat: bool = Field(description="Whether it was put into the model's chat template.")
    system: str | None = Field(description="The system message before it.")
    prompt_ids: list[int] = Field(
        description="What the model read: the prompt's token ids, with those that the tokenizer "
        "or the chat template adds."
    )
    token_ids: list[int] = Field(description="The new ids; ends with the stop token if one came.")
    text: str = Field(description="The new text, special tokens left out.")
    finish_reason: Literal["stop", "length"] = Field(
        description="stop: the model ended the text; length: max_new_tokens was reached."
    )
    temperature: float = Field(description="The temperature; 0 took the likeliest token each time.")
    top_k: int | None = Field(description="What was asked for.")
    top_p: float | None = Field(description="What was asked for.")
    seed: int = Field(description="The seed of the draws.")
    dtype: str = Field(description="The type of the weights.")
    device: str = Field(description="Where the model ran.")
    cache: str = Field(description="How keys and values were kept.")
    seconds: float = Field(
        description="Time from the prompt's first computation to the last token."
    )
    tokens_per_second: float = Field(description="New tokens divided by that time.")


def is_answer(task: str, chat: bool) -> bool:
    """Whether the new text stands for itself, and does not go on from the prompt."""
    return chat or task == "seq2seq-lm"
