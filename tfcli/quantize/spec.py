"""What `tfcli quantize` takes and gives."""

import re
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tfcli.families import FamilyFile
from tfcli.recipe.spec import InputPath, ModelRef, OutputPath, Result, Spec


class QuantizeSpec(Spec):
    """Quantize the linear layers of a checkpoint and write it in the GPTQ layout."""

    verb: ClassVar[str] = "quantize"
    positional: ClassVar[tuple[str, ...]] = ("model", "output")

    model: ModelRef = Field(description="Checkpoint to quantize: a folder or a hub id.")
    output: OutputPath = Field(description="Folder to write the quantized checkpoint to.")
    method: Literal["rtn", "gptq"] = Field(
        "gptq", description="rtn rounds to nearest without data; gptq calibrates on text."
    )
    bits: Literal[2, 3, 4, 8] = Field(4, description="Bits of a weight.")
    group_size: Literal[-1, 16, 32, 64, 128, 256, 512, 1024] | None = Field(
        None,
        description="Inputs that share a scale; -1 for one scale a row. Left out, 128, or the "
        "largest of 64 and 32 that divides the inputs of every linear.",
    )
    symmetric: bool = Field(
        True, description="Fix the zero point at the middle level; false fits it for each group."
    )
    clip_search: bool = Field(
        False, description="Try smaller ranges for each group and keep the least squared error."
    )
    skip: list[str] = Field(
        default_factory=list,
        description="Regular expressions; linears whose full name has a match stay as they are.",
    )
    data: InputPath | None = Field(
        None,
        description="Calibration text, for gptq: best is text like that which the model will see. "
        "Left out, Python's language reference, which every Python carries.",
    )
    samples: int = Field(128, ge=1, description="Calibration windows, for gptq.")
    sequence_length: int | None = Field(
        None,
        ge=2,
        description="Tokens of a calibration window, for gptq; left out, 512 or what fits.",
    )
    batch_size: int = Field(8, ge=1, description="Calibration windows run at a time, for gptq.")
    seed: int = Field(0, ge=0, description="Chooses the calibration windows, for gptq.")
    damping: float = Field(
        0.01,
        gt=0,
        le=1,
        description="Fraction of the Hessian's mean diagonal added to it, for gptq.",
    )
    act_order: bool = Field(
        True, description="Quantize the inputs with the largest activations first, for gptq."
    )
    device: str = Field(
        "cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="Where blocks run, for gptq."
    )
    family_file: FamilyFile = None

    @model_validator(mode="after")
    def _keys_have_effect(self) -> Self:
        if self.method == "rtn":
            fields = type(self).model_fields
            for key in CALIBRATION_KEYS:
                if getattr(self, key) != fields[key].default:
                    raise ValueError(f"{key}: has no effect with method: rtn")
        for pattern in self.skip:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"skip: {pattern!r} is no regular expression: {error}") from None
        return self


CALIBRATION_KEYS = (
    "data",
    "samples",
    "sequence_length",
    "batch_size",
    "seed",
    "damping",
    "act_order",
    "device",
)
"""The keys that only a method with calibration looks at."""


class TensorOutcome(BaseModel):
    """What became of one tensor of the checkpoint."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="Name in the checkpoint that was read.")
    outcome: Literal["quantized", "kept", "dropped"] = Field(
        description="What became of it; dropped: no reader needs it."
    )
    reason: str | None = Field(None, description="Why it was kept or dropped.")
    bits: int | None = Field(None, description="Bits of a weight, of a quantized one.")
    group_size: int | None = Field(
        None, description="Inputs that share a scale; -1 is a whole row."
    )
    weight_error: float | None = Field(None, description="||W - Q||^2 / ||W||^2.")
    output_error: float | None = Field(
        None, description="||WX - QX||^2 / ||WX||^2 over the calibration inputs; gptq."
    )
    damping: float | None = Field(
        None, description="Damping used; more than asked where the factorization failed; gptq."
    )
    dead_inputs: int | None = Field(
        None, description="Inputs that were zero in all of the calibration data; gptq."
    )
    coarse_scales: int | None = Field(
        None,
        description="Groups whose weights are so small that fp16 holds their scale too coarsely.",
    )
    bytes: int = Field(description="Bytes in the checkpoint that was written.")


class Calibration(BaseModel):
    """The calibration data that was used."""

    model_config = ConfigDict(frozen=True)

    documents: int = Field(description="Documents of the calibration text.")
    windows: int = Field(description="Windows that were used.")
    windows_available: int = Field(description="Windows that the text has.")
    sequence_length: int = Field(description="Tokens of a window.")
    tokens: int = Field(description="Tokens in the windows that were used.")
    bos_per_document: int = Field(description="Beginning-of-sequence tokens that each one got.")
    first_ids: list[int] = Field(description="The first ids of the first document.")


class QuantizeResult(Result):
    """What was quantized, what was not and why, and what it cost."""

    schema_name: ClassVar[str] = "tfcli.quantize/1"

    model: str = Field(description="The checkpoint that was read.")
    output: str = Field(description="The folder that was written.")
    method: str = Field(description="rtn or gptq.")
    bits: int = Field(description="Bits of a weight.")
    group_size: int = Field(description="Inputs that share a scale; -1 is a whole row.")
    symmetric: bool = Field(description="Whether the zero point is the middle level.")
    quantized: int = Field(description="Tensors that were quantized.")
    kept: int = Field(description="Tensors that were copied as they are.")
    dropped: int = Field(description="Tensors that no reader needs.")
    bits_per_weight: float = Field(
        description="Bits of a quantized weight, with its share of scales, zero points and g_idx."
    )
    bytes_before: int = Field(description="Bytes of all tensors that were read.")
    bytes_after: int = Field(description="Bytes of all tensors that were written.")
    mean_weight_error: float = Field(description="Mean of weight_error over quantized tensors.")
    mean_output_error: float | None = Field(
        None, description="Mean of output_error over quantized tensors; gptq."
    )
    files: list[str] = Field(description="The weight files, in order.")
    companions: list[str] = Field(description="The other files that went along.")
    verified: int = Field(
        description="How many tensors were read back and found equal to what was made, bit for bit."
    )
    calibration: Calibration | None = Field(None, description="The calibration text as used; gptq.")
    tensors: list[TensorOutcome] = Field(description="What became of every tensor that was read.")
