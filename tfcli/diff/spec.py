"""The options and the result of `tfcli diff`."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field

from tfcli.families import FamilyFile
from tfcli.recipe.spec import ModelRef, Result, Spec


class DiffSpec(Spec):
    """Compare two checkpoints of any containers: tensors, ties and config.json."""

    verb: ClassVar[str] = "diff"
    positional: ClassVar[tuple[str, ...]] = ("a", "b")

    a: ModelRef = Field(
        description="One checkpoint, in any container that `tfcli convert` reads: a folder, a "
        "safetensors, PyTorch or GGUF file, or a hub id org/name[@revision]. Tensors are "
        "compared under Hugging Face's names, quantized ones dequantized."
    )
    b: ModelRef = Field(description="The other checkpoint.")
    config_from: ModelRef | None = Field(
        None,
        description="The model whose config.json belongs to a side that brings none, such as a "
        "folder of torch.distributed.checkpoint.",
    )
    fail_above: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="End with exit code 1 when a tensor's relative difference is larger, or when "
        "a tensor is missing, has another shape, or is NaN or infinite on one side only.",
    )
    family_file: FamilyFile = None


class TensorDifference(BaseModel):
    """One tensor of either side."""

    name: str = Field(description="The tensor's name.")
    status: Literal["equal", "different", "shape", "only_a", "only_b"] = Field(
        description="`equal` in type, shape and every bit; `different` in type or values; of "
        "another `shape`; or only on one side.",
    )
    dtype_a: str | None = Field(description="The tensor's type in A; null where A lacks it.")
    dtype_b: str | None = Field(description="The tensor's type in B; null where B lacks it.")
    shape_a: list[int] | None = Field(description="The tensor's shape in A.")
    shape_b: list[int] | None = Field(description="The tensor's shape in B.")
    stored_a: str | None = Field(
        None, description="The tensor that A ties it to, where A stores only that one."
    )
    stored_b: str | None = Field(
        None, description="The tensor that B ties it to, where B stores only that one."
    )
    how_a: str = Field(
        "",
        description="What is done to A's stored tensors to give it; empty: they are taken as "
        "they are.",
    )
    how_b: str = Field("", description="What is done to B's stored tensors to give it.")
    changed: int | None = Field(
        None, description="How many values differ; null where they cannot be compared."
    )
    max_difference: float | None = Field(
        None, description="The largest absolute difference of two finite values."
    )
    relative_difference: float | None = Field(
        None,
        description="`max_difference` divided by the largest absolute value on either side: 0 for "
        "equal values, at most 2.",
    )
    not_finite: int | None = Field(
        None, description="Values that are NaN or infinite on one side, and another on the other."
    )


class TieDifference(BaseModel):
    """A tie that only one config asks for, or that leads to another tensor."""

    name: str = Field(description="The tied tensor.")
    a: str | None = Field(description="What A ties it to, or null.")
    b: str | None = Field(description="What B ties it to, or null.")


class ConfigDifference(BaseModel):
    """A key of config.json that differs."""

    key: str = Field(description="The key, with dots for nested ones.")
    only: Literal["a", "b"] | None = Field(
        description="The side that has the key, if one lacks it."
    )
    a: Any = Field(description="A's value; null where A lacks the key.")
    b: Any = Field(description="B's value; null where B lacks the key.")


class DiffResult(Result):
    """How two checkpoints differ."""

    schema_name: ClassVar[str] = "tfcli.diff/1"

    kind_a: str = Field(description="A's container, such as `hf` or `gguf`.")
    kind_b: str = Field(description="B's container.")
    identical: bool = Field(
        description="Whether all tensors are equal bit for bit, and so are the configs and ties."
    )
    equal: int = Field(description="Tensors that are equal in type, shape and every bit.")
    different: int = Field(description="Tensors of one shape that differ in type or values.")
    shapes: int = Field(description="Tensors whose shapes differ.")
    only_a: int = Field(description="Tensors that B lacks.")
    only_b: int = Field(description="Tensors that A lacks.")
    max_difference: float | None = Field(
        description="The largest absolute difference of all; null if no values were compared."
    )
    relative_difference: float | None = Field(description="The largest relative one of all.")
    config_compared: bool = Field(
        description="Whether both sides have a config. Where one is made from a container's own, "
        "what the configs mean is compared, with defaults filled in."
    )
    config: list[ConfigDifference] = Field(description="The keys of config.json that differ.")
    ties: list[TieDifference] = Field(description="The ties that differ.")
    tensors: list[TensorDifference] = Field(
        description="Every tensor: A's in A's order, then those that only B has."
    )
