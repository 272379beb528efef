"""What `tfcli quantize` takes and gives."""

import re
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tfcli.recipe.spec import InputPath, ModelRef, OutputPath, Result, Spec


class QuantizeSpec(Spec):
    """Quantize the linear layers of a checkpoint and write it in the GPTQ layout."""

    verb: ClassVar[str] = "quantize"
    positional: ClassVar[tuple[str, ...]] = ("model", "output")

    model: ModelRef = Field(description="checkpoint to quantize: a folder or a hub id")
    output: OutputPath = Field(description="folder to write the quantized checkpoint to")
    method: Literal["rtn", "gptq"] = Field(
        "gptq", description="rtn rounds to nearest without data; gptq calibrates on text"
    )
    bits: Literal[2, 3, 4, 8] = Field(4, description="bits of a weight")
    group_size: Literal[-1, 16, 32, 64, 128, 256, 512, 1024] = Field(
        128, description="inputs that share a scale; -1 for one scale a row"
    )
    symmetric: bool = Field(
        True, description="fix the zero point at the middle level; false fits it for each group"
    )
    clip_search: bool = Field(
        False, description="try smaller ranges for each group and keep the least squared error"
    )
    skip: list[str] = Field(
        default_factory=list,
        description="regular expressions; linears whose full name has a match stay as they are",
    )
    data: InputPath | None = Field(None, description="calibration text, for gptq")
    samples: int = Field(128, ge=1, description="calibration windows, for gptq")
    sequence_length: int = Field(512, ge=2, description="tokens of a calibration window, for gptq")
    batch_size: int = Field(8, ge=1, description="calibration windows run at a time, for gptq")
    seed: int = Field(0, ge=0, description="chooses the calibration windows, for gptq")
    damping: float = Field(
        0.01,
        gt=0,
        le=1,
        description="fraction of the Hessian's mean diagonal added to it, for gptq",
    )
    act_order: bool = Field(
        True, description="quantize the inputs with the largest activations first, for gptq"
    )
    device: str = Field(
        "cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="where blocks run, for gptq"
    )

    @model_validator(mode="after")
    def _keys_have_effect(self) -> Self:
        if self.method == "gptq" and self.data is None:
            raise ValueError("data: gptq needs calibration text (or use method: rtn)")
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

    name: str = Field(description="name in the checkpoint that was read")
    outcome: Literal["quantized", "kept", "dropped"]
    reason: str | None = Field(None, description="why it was kept or dropped")
    bits: int | None = None
    group_size: int | None = None
    weight_error: float | None = Field(None, description="||W - Q||^2 / ||W||^2")
    output_error: float | None = Field(
        None, description="||WX - QX||^2 / ||WX||^2 over the calibration inputs; gptq"
    )
    damping: float | None = Field(
        None, description="damping used; more than asked where the factorization failed; gptq"
    )
    dead_inputs: int | None = Field(
        None, description="inputs that were zero in all of the calibration data; gptq"
    )
    bytes: int = Field(description="bytes in the checkpoint that was written")


class Calibration(BaseModel):
    """The calibration data that was used."""

    model_config = ConfigDict(frozen=True)

    documents: int
    windows: int
    windows_available: int
    sequence_length: int
    tokens: int
    bos_per_document: int = Field(description="beginning-of-sequence tokens that each one got")
    first_ids: list[int] = Field(description="the first ids of the first document")


class QuantizeResult(Result):
    """What was quantized, what was not and why, and what it cost."""

    schema_name: ClassVar[str] = "tfcli.quantize/1"

    model: str
    output: str
    method: str
    bits: int
    group_size: int
    symmetric: bool
    quantized: int = Field(description="tensors that were quantized")
    kept: int = Field(description="tensors that were copied as they are")
    dropped: int = Field(description="tensors that no reader needs")
    bits_per_weight: float = Field(
        description="bits of a quantized weight, with its share of scales, zero points and g_idx"
    )
    bytes_before: int = Field(description="bytes of all tensors that were read")
    bytes_after: int = Field(description="bytes of all tensors that were written")
    mean_weight_error: float = Field(description="mean of weight_error over quantized tensors")
    mean_output_error: float | None = Field(
        None, description="mean of output_error over quantized tensors; gptq"
    )
    calibration: Calibration | None = None
    tensors: list[TensorOutcome]
