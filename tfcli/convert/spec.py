"""The options and the result of `tfcli convert`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from tfcli.convert.logits.spec import LogitsAccount
from tfcli.families import FamilyFile
from tfcli.quantize.names import LayoutName
from tfcli.recipe.marks import Also, Only
from tfcli.recipe.shared_keys import FLOATS, LARGEST_FILE, Size
from tfcli.recipe.spec import ModelRef, OutputPath, Result, Spec
from tfcli.units import parse_bytes

Target = Literal[
    "hf",
    "pt",
    "gguf",
    "meta",
    "megatron",
    "dcp",
    "flagai",
    "onnx",
    "executorch",
    "torch-export",
]
StoredType = Literal["bfloat16", "float16", "float32", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]


class ConvertSpec(Spec):
    """Rewrite a checkpoint: another container, dtype or shard size, or an exported graph."""

    verb: ClassVar[str] = "convert"
    positional: ClassVar[tuple[str, ...]] = ("source", "output")

    source: Annotated[ModelRef, Also("model")] = Field(
        description="The checkpoint: a folder (Hugging Face, PyTorch pickles, MLX, Meta's original "
        "files, torch.distributed.checkpoint, DeepSpeed ZeRO, Megatron, FlagAI), a GGUF "
        "file, or a hub id org/name[@revision]. The container is recognized by its "
        "content."
    )
    output: OutputPath | None = Field(
        None, description="The folder to write; a dry run needs none."
    )
    config_from: ModelRef | None = Field(
        None,
        description="The model whose config.json and tokenizer belong to the weights, for folders "
        "that trainers save without them. Without it they are looked for beside the weights and "
        "one folder up.",
    )
    to: Target = Field(
        "hf",
        description="What to write: a Hugging Face folder (safetensors); the same with PyTorch "
        "pickles (pt); a GGUF file for llama.cpp; the files of Meta, Megatron-LM, "
        "torch.distributed.checkpoint (dcp) or FlagAI; or a graph that runs without tfcli: onnx, "
        "executorch, torch-export.",
    )
    dtype: Annotated[StoredType | None, FLOATS] = Field(
        None,
        description="Cast floating-point weights to this type; packed ones (GPTQ, FP8, MXFP4) are "
        "dequantized. Without it every tensor keeps its type. The q types are GGUF's.",
    )
    to_layout: Annotated[LayoutName | None, Only(to=("hf", "pt"))] = Field(
        None,
        description="Store quantized weights in this layout: the same values for other readers. "
        "Refused where it cannot hold them exactly.",
    )
    tensor_type: Annotated[list[str], Only(to=("gguf",))] = Field(
        [],
        description="PATTERN=TYPE: a regular expression on GGUF's tensor names, and the type of "
        "the tensors that it matches; the first match counts.",
    )
    tokenizer: bool = Field(
        True,
        description="Whether the tokenizer and the other files beside the weights go along. "
        "--no-tokenizer writes the weights and config.json alone, as of a GGUF file whose "
        "tokenizer is not covered.",
    )
    shard_size: Annotated[Size, Only(to=("hf", "pt", "dcp"))] = Field(
        "5GB", description=LARGEST_FILE
    )
    parts: Annotated[int, Only(to=("meta", "megatron", "flagai"))] = Field(
        1,
        ge=1,
        description="How many files the tensors are cut into, for tensor parallelism.",
    )
    verify: Literal["tensors", "logits", "none"] = Field(
        "tensors",
        description="Read back what was written and compare every tensor with its source; with "
        "logits also run both models on random tokens. Exported graphs are run in either case.",
    )
    dry_run: bool = Field(
        False,
        description="Print the plan and write nothing: every tensor, the memory and disk needed.",
    )
    family_file: FamilyFile = None

    @model_validator(mode="after")
    def _has_output(self) -> Self:
        if self.output is None and not self.dry_run:
            raise ValueError("output is missing: name the folder to write, or ask for a dry_run")
        if self.to_layout is not None and self.dtype is not None:
            raise ValueError("to_layout keeps weights quantized, and dtype dequantizes them")
        if self.to == "gguf" and (self.output or "").endswith(".gguf"):
            name = (self.output or "").removesuffix(".gguf")
            raise ValueError(
                f"output names the folder that the file goes into: with {name} the file is "
                f"{name}/{name.rpartition('/')[2]}.gguf"
            )
        if self.to != "gguf" and self.dtype is not None and self.dtype.startswith("q"):
            raise ValueError(f"dtype {self.dtype} is GGUF's: add to: gguf, or see tfcli quantize")
        return self

    def target(self) -> str | None:
        return None if self.dry_run else self.output

    def only_looks(self) -> bool:
        return self.dry_run

    @property
    def max_shard_bytes(self) -> int:
        """`shard_size` in bytes."""
        return parse_bytes(self.shard_size)


_EXACT = {("F16", "F32"), ("BF16", "F32")}
"""Casts that round nothing."""
_SHORT = {"BF16": "bf16", "F16": "fp16", "F32": "fp32"}


class TensorAccount(BaseModel):
    """What became of one tensor of the source."""

    name: str = Field(description="The tensor's name in what is written.")
    action: Literal["converted", "copied", "made", "tied"] = Field(
        description="`converted` to another type, `copied` bit for bit, `made` of the stored "
        "tensors by a computation, or `tied`: left out because it equals the tensor that the "
        "config ties it to.",
    )
    sources: list[str] = Field(description="The stored tensors that it is made from.")
    how: str = Field(
        description="What is done to the stored tensors; empty where they are taken as they are."
    )
    shape: list[int] = Field(description="The tensor's dimensions.")
    source_dtype: str = Field(
        description="The tensor's type in the source, as safetensors spells it."
    )
    dtype: str = Field(description="The tensor's type in what is written.")
    bytes: int = Field(description="Bytes of the tensor in what is written; 0 for a tied one.")


class ConvertResult(Result):
    """What `tfcli convert` wrote. Every tensor of the source is in `tensors`."""

    schema_name: ClassVar[str] = "tfcli.convert/1"

    kind: str = Field(description="The source's container, such as `hf` or `mlx`.")
    to: Target = Field(description="What it became.")
    dry_run: bool = Field(description="True where only the plan was made and nothing was written.")
    files: list[str] = Field(description="The weight files, in order.")
    source_bytes: int = Field(description="Bytes of the source's weight files.")
    bytes: int = Field(description="Bytes of the written tensors: the disk that is needed.")
    peak_bytes: int = Field(description="Upper bound of the memory that is taken.")
    converted: int = Field(description="How many tensors changed their type.")
    copied: int = Field(description="How many tensors were copied bit for bit.")
    made: int = Field(description="How many tensors were computed from stored ones.")
    tied: int = Field(
        description="How many tensors were left out because they equal their tied partner."
    )
    verified: int = Field(
        description="How many tensors were read back and found to be what their source gives in "
        "their type."
    )
    largest_error: float = Field(
        0.0,
        description="The largest relative difference of a verified value from its source; 0 where "
        "all are equal, or differ by a cast alone.",
    )
    logits: LogitsAccount | None = Field(
        None, description="How both models answer; null where that was not asked for."
    )
    companions: list[str] = Field(description="The tokenizer and other files that were copied.")
    left_out: list[str] = Field(
        description="Files of the source folder that were not copied, such as code."
    )
    unused: dict[str, str] = Field(
        description="Stored tensors that are in nothing that is written -> why."
    )
    tensors: list[TensorAccount] = Field(description="What became of each tensor.")

    def compared(self) -> str:
        """What `verified` tensors were found to be, in words."""
        casts = [t for t in self.tensors if t.action != "tied" and t.dtype != t.source_dtype]
        rounded = [t for t in casts if (t.source_dtype, t.dtype) not in _EXACT]
        types = " or ".join(sorted({_SHORT.get(t.dtype, t.dtype) for t in rounded}))
        others = self.verified - len(rounded)
        widened = len(casts) > len(rounded)
        same = "equal to the source" + (" in value" if widened else ", bit for bit")
        parts = [f"{others} {same}"] if others else []
        if rounded:
            parts.insert(0, f"{len(rounded)} each equal to its source rounded to {types}")
        return f"read back: {'; '.join(parts)}"
