"""What `tfcli generate` takes and gives."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from tfcli.recipe.spec import ModelRef, OutputPath, Result, Spec


class GenerateSpec(Spec):
    """Continue a prompt."""

    verb: ClassVar[str] = "generate"
    positional: ClassVar[tuple[str, ...]] = ("model", "prompt")

    model: ModelRef = Field(description="The model: a folder or org/name[@revision].")
    prompt: str = Field(description="The text to continue.")
    output: OutputPath | None = Field(None, description="Folder for the record of the result.")
    max_new_tokens: int = Field(64, ge=1, description="Stop after this many tokens.")
    temperature: float = Field(
        0.0, ge=0, description="0 takes the likeliest token; above it, draws; 1 as the model says."
    )
    top_k: int | None = Field(None, ge=1, description="Draw from this many of the likeliest only.")
    top_p: float | None = Field(
        None, gt=0, le=1, description="Draw from the fewest likeliest that have this probability."
    )
    seed: int = Field(0, ge=0, description="Of the draws: equal seeds give equal text.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Of the weights; auto keeps the checkpoint's."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where to run; auto is cuda where there is one."
    )
    attention: Literal["sdpa", "eager", "flex", "flash"] = Field(
        "sdpa", description="Attention backend."
    )

    @model_validator(mode="after")
    def _every_key_has_an_effect(self) -> Self:
        if self.temperature == 0:
            for key in ("top_k", "top_p"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key} needs a temperature above 0: nothing is drawn at 0")
        return self


class GenerateResult(Result):
    """What `tfcli generate` made."""

    schema_name: ClassVar[str] = "tfcli.generate/1"

    model: str = Field(description="The model.")
    prompt: str = Field(description="The text that was continued.")
    prompt_ids: list[int] = Field(description="Its token ids, with those the tokenizer adds.")
    token_ids: list[int] = Field(description="The new ids; ends with the stop token if one came.")
    text: str = Field(description="The new text, special tokens left out.")
    finish_reason: Literal["stop", "length"] = Field(
        description="stop: the model ended the text; length: max_new_tokens was reached."
    )
    temperature: float = Field(description="0: the likeliest token each time.")
    top_k: int | None = Field(description="As asked for.")
    top_p: float | None = Field(description="As asked for.")
    seed: int = Field(description="Of the draws.")
    dtype: str = Field(description="Of the weights.")
    device: str = Field(description="Where the model ran.")
    seconds: float = Field(description="From the prompt's first computation to the last token.")
    tokens_per_second: float = Field(description="New tokens by that time.")
