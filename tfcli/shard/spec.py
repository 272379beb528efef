"""The options and the result of `tfcli shard`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tfcli.recipe.marks import Also
from tfcli.recipe.shared_keys import Size
from tfcli.recipe.spec import ModelRef, OutputPath, Result, Spec


class ShardSpec(Spec):
    """Divide a Hugging Face folder's weights into files of another size, or join them into one.

    Every stored tensor stays as it is, bit for bit, and so does the container, safetensors or
    PyTorch pickles.
    """

    verb: ClassVar[str] = "shard"
    positional: ClassVar[tuple[str, ...]] = ("source", "output")

    source: Annotated[ModelRef, Also("model")] = Field(
        description="The checkpoint: a folder or file, quantized ones too, or a hub id "
        "org/name[@revision]."
    )
    output: OutputPath = Field(description="The folder to write.")
    shard_size: Size = Field(
        description="Largest weight file: 2GB, 500MB, 2GiB or a number of bytes; 1TB joins most "
        "into one. A single tensor that is larger has a file to itself."
    )


class ShardResult(Result):
    """What `tfcli shard` wrote."""

    schema_name: ClassVar[str] = "tfcli.shard/1"

    container: Literal["safetensors", "torch"] = Field(
        description="The container of the source and of what was written."
    )
    source_files: list[str] = Field(description="The source's weight files.")
    files: list[str] = Field(description="The written weight files, in order.")
    bytes: int = Field(description="Bytes of all tensors.")
    verified: int = Field(
        description="How many tensors were read back and equal the source's, bit for bit."
    )
    companions: list[str] = Field(description="The tokenizer and other files that were copied.")
    left_out: list[str] = Field(
        description="Files of the source folder that were not copied, such as code."
    )
    beside: dict[str, str] = Field(
        description="What the source's pickles hold beside tensors and was not written -> what it "
        "is."
    )
