"""What `tfcli quantize` gives."""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from tfcli.quantize.budget.spec import Budget
from tfcli.recipe.spec import Result


class TensorOutcome(BaseModel):
    """What became of one tensor of the checkpoint."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(
        description="The tensor's name in the checkpoint that was read; of a head that was tied to "
        "a table, which stays as it is, its own."
    )
    outcome: Literal["quantized", "kept", "dropped"] = Field(
        description="What became of the tensor; dropped: no reader needs it."
    )
    reason: str | None = Field(
        None, description="Why it was kept or dropped, or that it was tied until now."
    )
    bits: int | None = Field(None, description="Bits of a weight; null where it was not quantized.")
    group_size: int | None = Field(
        None, description="Inputs that share a scale; -1 is a whole row."
    )
    weight_error: float | None = Field(None, description="||W - Q||^2 / ||W||^2.")
    output_error: float | None = Field(
        None,
        description="||WX - QX||^2 / ||WX||^2 over the calibration inputs, with smoothquant over "
        "some of them, which Q gets rounded, and with gptq of some outputs where there are 512 or "
        "more; null without calibration.",
    )
    damping: float | None = Field(
        None,
        description="The damping used, which is more than asked for where the factorization "
        "failed; null without calibration.",
    )
    dead_inputs: int | None = Field(
        None,
        description="Inputs that were zero in all of the calibration data; null without "
        "calibration.",
    )
    tokens: int | None = Field(
        None,
        description="Calibration tokens that went to an expert; null of linears that get all.",
    )
    fallback: str | None = Field(
        None, description="What was done instead of the method, and why; null where nothing was."
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
    bos_per_document: int = Field(
        description="Beginning-of-sequence tokens that each document got."
    )
    prefix_per_window: int = Field(
        0,
        description="Tokens that every window begins with, as the tokenizer puts them before a "
        "text; 0 for none.",
    )
    first_ids: list[int] = Field(description="The first ids of the first document.")


class QuantizeResult(Result):
    """What was quantized, what was not and why, and what it cost."""

    schema_name: ClassVar[str] = "tfcli.quantize/1"

    model: str = Field(description="The checkpoint that was read.")
    output: str | None = Field(description="The folder that was written.")
    dry_run: bool = Field(
        False, description="True where only the plan was made and nothing was written."
    )
    method: str = Field(description="The algorithm.")
    layout: str = Field(description="How the result is stored.")
    bits: int = Field(description="Bits of a weight.")
    group_size: int = Field(description="Inputs that share a scale; -1 is a whole row.")
    symmetric: bool | None = Field(
        description="Whether the zero point is the middle level; null where no method chooses one."
    )
    quantized: int = Field(description="Tensors that were quantized.")
    kept: int = Field(description="Tensors that were copied as they are.")
    dropped: int = Field(description="Tensors that no reader needs.")
    bits_per_weight: float = Field(
        description="Bits of a quantized weight, with its share of scales, zero points and g_idx."
    )
    bytes_before: int = Field(description="Bytes of all tensors that were read.")
    bytes_after: int = Field(description="Bytes of all tensors that were written.")
    mean_weight_error: float | None = Field(
        None,
        description="The mean of weight_error over the quantized tensors; null in a dry run.",
    )
    peak_bytes: int | None = Field(
        None,
        description="Upper bound of the memory that is taken beside the mapped checkpoint; null "
        "but in a dry run.",
    )
    tensor_bytes: int | None = Field(
        None,
        description="What tensors take of it: an estimate where weights are quantized one by one, "
        "an upper bound where blocks run; null but in a dry run.",
    )
    mean_output_error: float | None = Field(
        None,
        description="The mean of output_error over the quantized tensors; null without "
        "calibration.",
    )
    calibration: Calibration | None = Field(
        None, description="The calibration text as used; null without calibration."
    )
    budget: Budget | None = Field(
        None, description="How a budget was spent; null where widths were given."
    )
    files: list[str] = Field(
        default_factory=list, description="The weight files, in order; none in a dry run."
    )
    companions: list[str] = Field(
        default_factory=list, description="The other files that went along."
    )
    verified: int = Field(
        0,
        description="Tensors that were read back and found equal to what was made, bit for bit.",
    )
    tensors: list[TensorOutcome] = Field(description="What became of every tensor that was read.")
