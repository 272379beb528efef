"""What `tfcli quantize` takes.

Names of methods and layouts are in `names`, what does not go together is in `spec_checks`, and what
it gives in `result_spec`.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tfcli.families import FamilyFile
from tfcli.quantize.names import (
    BNB_4BIT,
    CALIBRATED,
    CALIBRATING,
    GRID,
    HQQ,
    LEVELS,
    OF_GPTQ,
    CalibrationPath,
    ComputeType,
    GGUFMix,
    MethodName,
    QuantizeLayout,
    StorageType,
)
from tfcli.quantize.overrides import Override
from tfcli.quantize.result_spec import QuantizeResult
from tfcli.quantize.spec_checks import check_keys
from tfcli.recipe.marks import Also, Only
from tfcli.recipe.shared_keys import Device, Seed, Size
from tfcli.recipe.spec import InputPath, ModelRef, OutputPath, Spec
from tfcli.units import parse_bytes

__all__ = ["QuantizeResult", "QuantizeSpec"]


class QuantizeSpec(Spec):
    """Quantize the linear layers of a checkpoint."""

    verb: ClassVar[str] = "quantize"
    resumable: ClassVar[bool] = True
    distributed: ClassVar[bool] = True
    scratch: ClassVar[tuple[str, ...]] = (".walk", ".*.tmp")
    positional: ClassVar[tuple[str, ...]] = ("model", "output")

    model: ModelRef = Field(
        description="The checkpoint to quantize: a folder or file of any container, or a hub id."
    )
    output: OutputPath | None = Field(
        None, description="The folder to write; with dry_run none is needed."
    )
    method: MethodName = Field(
        "gptq",
        description="The algorithm: rtn rounds to nearest without data; gptq, awq and smoothquant "
        "calibrate on text, and awq and smoothquant also change norms and biases, which go with "
        "the weights; smoothquant rounds weights and inputs to 8 bits; bnb rounds as bitsandbytes "
        "does; hqq fits zero points without data; fp8, mxfp4 and nvfp4 round to floats of 8 and 4 "
        "bits.",
    )
    scales: Annotated[Literal["tensor", "channel", "block"], Only(method=("fp8",))] = Field(
        "channel",
        description="Weights that share a scale: all of a tensor, those of an output, or a block "
        "of 128 outputs and 128 inputs.",
    )
    round_inputs: Annotated[bool, Only(method=("rtn", "fp8"))] = Field(
        False,
        description="Round the inputs of the linears too when the model runs: to int8 by rtn, to "
        "8-bit floats by fp8, with a scale a token, or one for each 128 inputs beside blocks.",
    )
    bits: Annotated[Literal[1, 2, 3, 4, 5, 6, 8], LEVELS] = Field(
        4,
        description="Bits of a weight; 1 with hqq alone, 4 or 8 with bnb, 5 and 6 of the layout "
        "gguf alone.",
    )
    group_size: Annotated[
        Literal[-1, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096] | None, LEVELS
    ] = Field(
        None,
        description="Inputs that share a scale; -1 for one scale a row. Left out, 64 with bnb and "
        "hqq, else 128, or the largest of 64 and 32 that divides the inputs of every linear.",
    )
    symmetric: Annotated[bool, GRID] = Field(
        True, description="Fix the zero point at the middle level; false fits it for each group."
    )
    smoothing: Annotated[float, Only(method=("smoothquant",)), Also("alpha")] = Field(
        0.5,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="How much of the difficulty of inputs goes into the weights: 1 makes the "
        "inputs even, 0 the weights.",
    )
    scale_search: Annotated[
        Literal["max", "mse", "hessian"] | None, Only(method=("rtn", "gptq"))
    ] = Field(
        None,
        description="How the scale of a group is found: max spans its largest weight; mse tries "
        "other spans for the least squared error; hessian weighs each error by what calibration "
        "saw of its input. Left out, hessian with gptq and max with rtn.",
    )
    quant_type: Annotated[Literal["nf4", "fp4"], BNB_4BIT] = Field(
        "nf4", description="The 16 numbers that weights are rounded to, times a scale."
    )
    double_quant: Annotated[bool, BNB_4BIT] = Field(
        False, description="Quantize the scales to 8 bits as well."
    )
    storage_dtype: Annotated[StorageType, BNB_4BIT] = Field(
        "uint8",
        description="What the bytes of weights are called in the file; FSDP wants the type of the "
        "other parameters.",
    )
    threshold: Annotated[float, Only(method=("bnb",), bits=(8,))] = Field(
        6.0,
        ge=0,
        allow_inf_nan=False,
        description="Inputs from here on are multiplied in 16 bits; 0 rounds all of them to 8.",
    )
    axis: Annotated[Literal[0, 1], HQQ] = Field(
        1, description="Whether groups are neighbours in a row, or lie apart in all of the weight."
    )
    view_as_float: Annotated[bool, HQQ] = Field(
        False, description="Call the bytes of weights floats of compute_dtype in the file."
    )
    compute_dtype: Annotated[ComputeType | None, Only(method=("bnb", "hqq"))] = Field(
        None,
        description="The type that other readers multiply in, and with hqq that of scales and zero "
        "points. Left out, float32 with bnb and float16 with hqq.",
    )
    layout: QuantizeLayout | None = Field(
        None, description="How the result is stored; left out, as is usual for the method."
    )
    gguf_type: Annotated[GGUFMix | None, Only(layout=("gguf",))] = Field(
        None,
        description="llama.cpp's name of a mix of types, most of one and some finer. Left out, the "
        "smallest of `bits`: Q4_K_S for 4.",
    )
    imatrix: Annotated[InputPath | None, Only(method=("rtn",), layout=("gguf",))] = Field(
        None,
        description="An importance matrix of llama.cpp, a GGUF file or one of the older form "
        "(.dat): rounding then weighs the errors of a linear's inputs by their mean squares.",
    )
    save_imatrix: Annotated[bool, Only(method=("gptq",), layout=("gguf",))] = Field(
        False,
        description="Write what calibration saw of the inputs as an importance matrix that "
        "llama.cpp reads, imatrix.gguf beside the model.",
    )
    include: list[str] = Field(
        default_factory=list,
        description="Regular expressions: only linear layers whose full name has a match are "
        "quantized, and with method rtn and layout mlx the tables of embeddings that have one. "
        "Left out, all linear layers in the model's blocks.",
    )
    exclude: Annotated[list[str], Also("skip")] = Field(
        default_factory=list,
        description="Regular expressions: linear layers whose full name has a match stay as they "
        "are.",
    )
    overrides: Annotated[list[str], LEVELS] = Field(
        default_factory=list,
        description="Linear layers with other bits or groups: `regex=8bit`, `regex=4bit:32`, on "
        "full names, or beside layout gguf with another type: `regex=Q6_K`; the first that matches "
        "decides. With bnb other blocks of 4 bits alone.",
    )
    head: Annotated[str | None, LEVELS] = Field(
        None,
        description="Quantize the head of a causal language model (lm_head) too, in the bits and "
        "groups of a word as in overrides: 8bit, 4bit:32. Left out, it stays as it is.",
    )
    data: Annotated[CalibrationPath | None, CALIBRATED] = Field(
        None,
        description="Calibration text, best like the text that the model will see: what `train` "
        "reads, and lines of .jsonl with conversations (`messages`), for which the model's chat "
        "template is used. Left out, Python's language reference, which every Python carries.",
    )
    samples: Annotated[int, CALIBRATED] = Field(128, ge=1, description="Calibration windows.")
    sequence_length: Annotated[int | None, CALIBRATED, Also("window")] = Field(
        None,
        ge=2,
        description="Tokens of a calibration window; left out, 512 or what the model can take.",
    )
    batch_size: Annotated[int, CALIBRATED] = Field(
        8, ge=1, description="Calibration windows that run at a time; more take more memory."
    )
    seed: Annotated[Seed, CALIBRATED] = Field(
        0, description="The seed that chooses the calibration windows."
    )
    damping: Annotated[float, OF_GPTQ] = Field(
        0.01,
        gt=0,
        le=1,
        description="The share of the Hessian's mean diagonal that is added to its diagonal.",
    )
    order: Annotated[Literal["natural", "activation", "group"], OF_GPTQ] = Field(
        "group",
        description="The order in which inputs are quantized: natural, as they stand; activation, "
        "those with the largest activations first; group, the same within each group, and the "
        "groups by their largest.",
    )
    static_groups: Annotated[bool, Only(method=("gptq",), order=("natural", "group"))] = Field(
        False,
        description="Find all scales before any weight is rounded, not when the turn of their "
        "group comes; order: activation does in any case.",
    )
    drift: Annotated[Annotated[float, Field(ge=0, le=1)] | Literal["auto"], OF_GPTQ] = Field(
        "auto",
        description="How much of the drift of a linear's inputs, which the quantization before it "
        "has caused, its weight makes up for: from 0, none, to 1, all; auto finds what is best for "
        "the last eighth of each window. Other than 0 it takes memory and time for the dense "
        "model's inputs.",
    )
    refine: Annotated[int, OF_GPTQ] = Field(
        2,
        ge=0,
        le=20,
        description="Rounds in which scales and weights are moved once more, each to where the "
        "output error is least.",
    )
    target_bits: Annotated[float | None, OF_GPTQ] = Field(
        None,
        gt=0,
        le=16,
        allow_inf_nan=False,
        description="Bits that a weight may take on average, with its share of scales and zero "
        "points: a first walk finds what 2, 3, 4 and 8 bits cost each group of linears, and those "
        "get more whose errors the predictions feel most.",
    )
    target_size: Annotated[Size | None, OF_GPTQ] = Field(
        None,
        description="The same, for bytes that all tensors may take together, also those that stay "
        "as they are: 250MB, 2GiB.",
    )
    expert_tokens: Annotated[int, CALIBRATED] = Field(
        32,
        ge=0,
        description="An expert of a mixture that fewer calibration tokens go to is rounded to "
        "nearest.",
    )
    device: Annotated[Device, CALIBRATED] = "auto"
    dry_run: bool = Field(
        False,
        description="Print the plan and write nothing: every tensor, the memory and disk needed.",
    )
    compare: bool = Field(
        False,
        description="Quantize in several ways instead of one, measure each on a tenth of the data "
        "that calibration does not see, and write one report with a table and a plot.",
    )
    ways: Annotated[list[str], Only(compare=(True,))] = Field(
        default_factory=list,
        description="The ways to compare: method, method:bits or method:bits:layout, such as "
        "awq, gptq:3, gptq:3.5 for target_bits, gptq:4:gguf. Left out, rtn, gptq, hqq and bnb of 4 "
        "bits, and gptq of 3.",
    )
    family_file: FamilyFile = None

    def works_alone(self) -> str | None:
        """Processes share the calibration windows, so a method without them works in one; and so
        does the survey of a budget, which looks at windows that are not shared."""
        if self.has_budget:
            return "quantize within a budget"
        return None if self.method in CALIBRATING else f"quantize with method: {self.method}"

    @model_validator(mode="after")
    def _has_output(self) -> Self:
        if self.output is None and not (self.dry_run or self.compare):
            raise ValueError("output is missing: name the folder to write, or ask for a dry_run")
        return self

    @model_validator(mode="after")
    def _comparison_names_methods(self) -> Self:
        if self.compare:
            for key in ("method", "bits", "layout", "target_bits", "target_size", "dry_run"):
                if key in self.model_fields_set and getattr(self, key) not in (None, False):
                    raise ValueError(f"{key}: has no effect beside compare; name them in ways")
            self.steps()
        return self

    def steps(self) -> Mapping[str, Spec]:
        """See `Spec.steps`."""
        if not self.compare:
            return {}
        from tfcli.quantize.compare import steps_of

        return steps_of(self)

    @property
    def calibrated(self) -> bool:
        """Whether the method looks at text."""
        return CALIBRATED.unmet({"method": self.method}) is None

    def target(self) -> str | None:
        return None if self.dry_run else self.output

    def only_looks(self) -> bool:
        return self.dry_run

    @model_validator(mode="after")
    def _keys_go_together(self) -> Self:
        check_keys(self)
        return self

    def exceptions(self) -> list[Override]:
        """What `overrides` says.

        Raises:
            ValueError: one that says nothing of that.
        """
        return [Override.parse(text, types=self.layout == "gguf") for text in self.overrides]

    @property
    def has_budget(self) -> bool:
        """Whether widths are chosen within a budget."""
        return self.target_bits is not None or self.target_size is not None

    @property
    def budget_key(self) -> str:
        """The key that says the budget."""
        return "target_bits" if self.target_size is None else "target_size"

    @property
    def target_bytes(self) -> int | None:
        """`target_size` in bytes."""
        return None if self.target_size is None else parse_bytes(self.target_size)
