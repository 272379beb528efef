"""The options and the result of `tfcli convert`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, Field, field_validator

from tfcli.families import FamilyFile
from tfcli.recipe.spec import ModelRef, OutputPath, Result, Spec
from tfcli.units import parse_bytes


class ConvertSpec(Spec):
    """Rewrite a Hugging Face checkpoint in another dtype or shard size."""

    verb: ClassVar[str] = "convert"
    positional: ClassVar[tuple[str, ...]] = ("source", "output")

    source: ModelRef = Field(
        description="The checkpoint: a Hugging Face folder, or a hub id org/name[@revision]."
    )
    output: OutputPath = Field(description="The folder to write.")
    dtype: Literal["bf16", "fp16", "fp32"] | None = Field(
        None,
        description="Cast floating-point weights to this type; integer and quantized ones stay "
        "as they are. Without it all stay.",
    )
    max_shard_size: int | str = Field(
        "5GB",
        description="Largest weight file: 5GB, 500MB, 2GiB or a number of bytes.",
    )
    family_file: FamilyFile = None

    @field_validator("max_shard_size")
    @classmethod
    def _is_size(cls, value: int | str) -> int | str:
        parse_bytes(value)
        return value

    @property
    def max_shard_bytes(self) -> int:
        """`max_shard_size` in bytes."""
        return parse_bytes(self.max_shard_size)


class TensorAccount(BaseModel):
    """What became of one tensor of the source."""

    name: str = Field(description="Its name, before and after.")
    action: Literal["converted", "copied", "tied"] = Field(
        description="`converted` to another type, `copied` bit for bit, or `tied`: left out "
        "because it equals the tensor that the config ties it to.",
    )
    source_dtype: str = Field(description="Its type in the source, as safetensors spells it.")
    dtype: str = Field(
        description="Its type in what was written; of a tied tensor, the type of its partner."
    )


class ConvertResult(Result):
    """What `tfcli convert` wrote. Every tensor of the source is in `tensors`."""

    schema_name: ClassVar[str] = "tfcli.convert/1"

    files: list[str] = Field(description="The weight files, in order.")
    source_bytes: int = Field(description="Of the source's tensors.")
    bytes: int = Field(description="Of the written tensors.")
    converted: int = Field(description="How many tensors changed their type.")
    copied: int = Field(description="How many kept it.")
    tied: int = Field(description="How many were left out because they equal their tied partner.")
    verified: int = Field(
        description="How many were read back and found equal to the source's, bit for bit."
    )
    companions: list[str] = Field(description="The tokenizer and other files that were copied.")
    left_out: list[str] = Field(
        description="Files of the source folder that were not copied, such as code."
    )
    tensors: list[TensorAccount] = Field(description="What became of each tensor.")
