"""The options and the result of `tfcli merge`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field

from tfcli.convert.logits.spec import LogitsAccount
from tfcli.families import FamilyFile
from tfcli.recipe.marks import Also
from tfcli.recipe.shared_keys import LARGEST_FILE, Size, StoredDtype
from tfcli.recipe.spec import ModelRef, OutputPath, Result, Spec


class MergeSpec(Spec):
    """Merge an adapter (PEFT's LoRA, DoRA or IA3, or one of MLX) into the weights of its base."""

    verb: ClassVar[str] = "merge"
    positional: ClassVar[tuple[str, ...]] = ("base", "adapter", "output")

    base: Annotated[ModelRef, Also("model")] = Field(
        description="The checkpoint that the adapter was trained on: a folder or file of any "
        "container, or a hub id."
    )
    adapter: ModelRef = Field(
        description="A folder with adapter_config.json and adapter_model.safetensors (PEFT) or "
        "adapters.safetensors (MLX), or a hub id."
    )
    output: OutputPath = Field(description="The folder to write.")
    merge_base: ModelRef | None = Field(
        None,
        description="The dense checkpoint to merge into, where `base` is a quantized one. What the "
        "adapter learned to undo the quantization stays in the result; how far that is "
        "from the adapter on the quantized base is reported.",
    )
    dtype: StoredDtype = Field(
        None,
        description="The type of all floating-point weights of the result. Without it each tensor "
        "has the type that it has in the base.",
    )
    shard_size: Size = Field("5GB", description=LARGEST_FILE)
    verify: Literal["tensors", "logits"] = Field(
        "tensors",
        description="Read back what was written and compare every tensor with a second pass; "
        "logits also runs the result, and the adapter on its base, on random "
        "tokens, which takes memory for the model in float32.",
    )
    family_file: FamilyFile = None


Action = Literal["merged", "replaced", "added", "copied", "untied"]


class MergedTensor(BaseModel):
    """What became of one tensor."""

    name: str = Field(description="The tensor's name.")
    action: Action = Field(
        description="`merged`: the adapter's change is added; `replaced` by a whole tensor of the "
        "adapter; `added`: a whole tensor that the base lacks; `copied` as it was; or `untied`: a "
        "copy of its tied partner, written because the adapter changes only one of the two."
    )
    dtype: str = Field(description="The tensor's type, as safetensors spells it.")
    change: float | None = Field(
        description="How far a merged tensor moved: the largest change of a value, divided by the "
        "largest value before."
    )
    deviation: float | None = Field(
        description="What rounding a merged tensor to its type cost: the largest distance from the "
        "exact value, divided by the largest exact value."
    )
    divergence: float | None = Field(
        description="How far a merged tensor is from the adapter on the quantized base: the "
        "largest distance of a value, divided by the largest value; null without "
        "merge_base."
    )


class MergeResult(Result):
    """What `tfcli merge` wrote. Every tensor of the adapter was used."""

    schema_name: ClassVar[str] = "tfcli.merge/1"

    method: Literal["lora", "dora", "adalora", "ia3", "full"] = Field(
        description="What the adapter is; `full` where it holds whole tensors alone."
    )
    wrote: Literal["PEFT", "MLX"] = Field(description="The library whose format it has.")
    adapter_tensors: int = Field(description="Tensors of the adapter; all of them were used.")
    merged: int = Field(description="How many tensors the adapter changed.")
    replaced: int = Field(description="How many tensors the adapter brought along whole.")
    copied: int = Field(description="How many tensors stayed as they were.")
    vocabulary: int | None = Field(
        description="The size of the vocabulary, where it was resized for the adapter."
    )
    task: str | None = Field(
        description="What the result is for, where the adapter brings the head of another task."
    )
    left_out: list[str] = Field(
        description="Tensors of the base that a model for that task does not have."
    )
    untied: list[str] = Field(
        description="Tensors that were tied and are not any more; the config says so."
    )
    merge_base: str | None = Field(
        description="The dense checkpoint, where the adapter was trained on a quantized one."
    )
    max_deviation: float = Field(description="The largest `deviation` of a tensor.")
    max_divergence: float | None = Field(
        description="The largest `divergence` of a tensor; null without merge_base."
    )
    divergence_unknown: str | None = Field(
        description="Why no divergence was computed with merge_base; null where it was."
    )
    logits: LogitsAccount | None = Field(
        description="How the result answers beside the adapter on its base; null without verify: "
        "logits."
    )
    files: list[str] = Field(description="The weight files, in order.")
    bytes: int = Field(description="Bytes of the written tensors.")
    verified: int = Field(
        description="How many tensors were read back and compared with a second pass."
    )
    companions: list[str] = Field(
        description="The tokenizer and other files, those of the adapter before the base's."
    )
    tokenizer_of: Literal["base", "adapter"] = Field(
        description="Whose tokenizer it is; the adapter's where its folder has one."
    )
    tensors: list[MergedTensor] = Field(description="What became of each tensor.")
