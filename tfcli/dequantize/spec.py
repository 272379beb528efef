"""The options and the result of `tfcli dequantize`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from tfcli.families import FamilyFile
from tfcli.recipe.shard_size import LARGEST_FILE, ShardSize
from tfcli.recipe.spec import ModelRef, OutputPath, Result, Spec


class DequantizeSpec(Spec):
    """Unpack a quantized checkpoint to dense weights: the GPTQ layout, FP8 or MXFP4."""

    verb: ClassVar[str] = "dequantize"
    positional: ClassVar[tuple[str, ...]] = ("source", "output")

    source: ModelRef = Field(
        description="The quantized checkpoint: a folder, or a hub id org/name[@revision]."
    )
    output: OutputPath = Field(description="The folder to write.")
    dtype: Literal["bf16", "fp16", "fp32"] | None = Field(
        None,
        description="Type of all floating-point weights. Without it unpacked weights get the type "
        "that the config names (bf16 if none), and others stay as they are. The unpacked values "
        "are exact in fp32 and rounded once in the others.",
    )
    shard_size: ShardSize = Field("5GB", description=LARGEST_FILE)
    family_file: FamilyFile = None


class DequantizedTensor(BaseModel):
    """One written tensor."""

    name: str = Field(description="Its name.")
    action: Literal["dequantized", "converted", "copied"] = Field(
        description="`dequantized` from packed values, `converted` to another type, or `copied`."
    )
    dtype: str = Field(description="Its type, as safetensors spells it.")
    bits: list[int] = Field(
        description="Widths of the packed values that it was unpacked from; empty for others."
    )


class DequantizeResult(Result):
    """What `tfcli dequantize` wrote."""

    schema_name: ClassVar[str] = "tfcli.dequantize/1"

    dequantized: int = Field(description="How many weights were unpacked.")
    converted: int = Field(description="How many other tensors changed their type.")
    copied: int = Field(description="How many stayed as they were.")
    source_bytes: int = Field(description="Of the source's tensors.")
    bytes: int = Field(description="Of the written tensors.")
    files: list[str] = Field(description="The weight files, in order.")
    verified: int = Field(
        description="How many were read back and found equal, bit for bit, to the packed values "
        "unpacked again."
    )
    companions: list[str] = Field(description="The tokenizer and other files that were copied.")
    tensors: list[DequantizedTensor] = Field(description="Every written tensor.")
