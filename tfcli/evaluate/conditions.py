"""All that a figure depends on besides the model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Conditions(BaseModel):
    """What a model was measured under: figures compare where all of it agrees."""

    model_config = ConfigDict(frozen=True)

    task: str = Field(description="What was measured.")
    task_version: str | None = Field(
        None, description="The version that the task's file states; null for none."
    )
    task_sha256: str | None = Field(
        None, description="The hash of all that the task's file says; null without a file."
    )
    data_sha256: str = Field(description="The hash of the samples' content.")
    samples: int = Field(description="Documents or samples that were measured.")
    tokenizer_sha256: str | None = Field(
        description="The hash of what decides the token ids; null where the model reads no text."
    )
    template_sha256: str | None = Field(
        None, description="The hash of the chat template around the prompts; null for none."
    )
    bos: str = Field(
        description="Where the tokenizer's prefix stood: before `each` window or prompt, before "
        "each document's `first` window, or `none`."
    )
    bos_tokens: int = Field(description="Tokens of that prefix.")
    shots: int = Field(0, description="Examples with their answers before each prompt.")
    shots_seed: int | None = Field(
        None, description="What they were drawn with; null where nothing was drawn."
    )
    window: int | None = Field(
        None, description="Tokens the model saw at most; null where no text was cut for it."
    )
    stride: int | None = Field(
        None, description="Tokens from one window to the next; null where there are none."
    )
    normalizer: str | None = Field(
        None,
        description="What is done to answers before they are judged, step by step; null: nothing.",
    )
    dtype: str = Field(description="The type of the weights.")
    backend: str = Field(description="What computed it: tfcli, or another program and its version.")
