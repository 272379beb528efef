"""The options and the result of `tfcli dequantize`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field

from tfcli.families import FamilyFile
from tfcli.recipe.marks import Also
from tfcli.recipe.shared_keys import LARGEST_FILE, Size, StoredDtype
from tfcli.recipe.spec import ModelRef, OutputPath, Result, Spec


class DequantizeSpec(Spec):
    """Unpack a quantized checkpoint to dense weights: the layouts of GPTQ and AWQ, FP8 or MXFP4."""

    verb: ClassVar[str] = "dequantize"
    positional: ClassVar[tuple[str, ...]] = ("source", "output")

    source: Annotated[ModelRef, Also("model")] = Field(
        description="The quantized checkpoint: a folder or file of any container, or a hub id."
    )
    output: OutputPath = Field(description="The folder to write.")
    dtype: StoredDtype = Field(
        None,
        description="The type of all floating-point weights. Without it unpacked weights get the "
        "type that the config names (bfloat16 if none), and others stay as they are. "
        "The unpacked values are exact in float32 and rounded once in the others.",
    )
    shard_size: Size = Field("5GB", description=LARGEST_FILE)
    family_file: FamilyFile = None


class DequantizedTensor(BaseModel):
    """One written tensor."""

    name: str = Field(description="The tensor's name.")
    action: Literal["dequantized", "converted", "copied"] = Field(
        description="`dequantized` from packed values, `converted` to another type, or `copied`."
    )
    dtype: str = Field(description="The tensor's type, as safetensors spells it.")
    bits: list[int] = Field(
        description="The widths of the packed values that the tensor was unpacked from; empty for "
        "others."
    )


class DequantizeResult(Result):
    """What `tfcli dequantize` wrote."""

    schema_name: ClassVar[str] = "tfcli.dequantize/1"

    dequantized: int = Field(description="How many weights were unpacked.")
    converted: int = Field(description="How many other tensors changed their type.")
    copied: int = Field(description="How many tensors stayed as they were.")
    source_bytes: int = Field(description="Bytes of the source's tensors.")
    bytes: int = Field(description="Bytes of the written tensors.")
    files: list[str] = Field(description="The weight files, in order.")
    verified: int = Field(
        description="How many tensors were read back and found equal, bit for bit, to the packed "
        "values unpacked again."
    )
    companions: list[str] = Field(description="The tokenizer and other files that were copied.")
    tensors: list[DequantizedTensor] = Field(description="Every written tensor.")
