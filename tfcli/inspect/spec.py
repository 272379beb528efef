"""The options and the result of `tfcli inspect`."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field

from tfcli.recipe.spec import ModelRef, Result, Spec


class InspectSpec(Spec):
    """Say what a checkpoint holds and what it needs, from its headers alone."""

    verb: ClassVar[str] = "inspect"
    positional: ClassVar[tuple[str, ...]] = ("path",)

    path: ModelRef = Field(
        description="A checkpoint folder, a .safetensors file, or a hub id org/name[@revision] "
        "(downloaded if it is not in the cache)."
    )


class TensorLine(BaseModel):
    """One stored tensor.

    Args:
        name: as stored.
        dtype: the type, as safetensors spells it.
        shape: the dimensions.
        bytes: of the data.
    """

    name: str
    dtype: str
    shape: list[int]
    bytes: int


class Quantization(BaseModel):
    """How the weights are quantized, from the config.

    Args:
        method: such as `gptq`.
        bits: of a weight, where the config says.
        group_size: weights that share a scale; -1 is a whole row.
        settings: the config's quantization_config as it is.
    """

    method: str
    bits: int | None
    group_size: int | None
    settings: dict[str, Any]


class TokenizerFacts(BaseModel):
    """The tokenizer that lies beside the weights.

    Args:
        type: the algorithm, such as `BPE`, `WordPiece` or `Unigram`.
        vocab_size: entries, added tokens included; None where the file does not say.
        file: where it was found.
    """

    type: str
    vocab_size: int | None
    file: str


class Memory(BaseModel):
    """Bytes of memory, estimated by `tfcli.inspect.memory`.

    Args:
        load: to hold the weights.
        run: to run one sequence of `context` tokens; None where the config is not understood.
        train: to train every parameter with AdamW in fp32, without activations.
        context: tokens that `run` counts with.
        kv_cache: the part of `run` that is keys and values.
        activations: the part of `run` that is intermediate results.
    """

    load: int
    run: int | None
    train: int
    context: int | None
    kv_cache: int | None
    activations: int | None


class InspectResult(Result):
    """What a checkpoint is.

    Args:
        path: the folder or file that was read.
        model_type: the config's, or None for a bare file.
        architecture: the class that the config names.
        task: what tfcli runs it as, such as `causal-lm`; None if it does not.
        problem: why tfcli does not run it, or None.
        parameters: weights of the model; of packed integers, the weights that they stand for.
        parameters_counted: `logical`, or `stored` for a quantization method whose packing is not
            known here, where stored values are counted.
        bytes: of all stored tensors.
        dtypes: stored values by type.
        files: the weight files.
        quantization: or None.
        tokenizer: or None.
        chat_template: whether there is one.
        memory: needed to load, run and train.
        tensors: all of them, as stored.
    """

    schema_name: ClassVar[str] = "tfcli.inspect/1"

    path: str
    model_type: str | None
    architecture: str | None
    task: str | None
    problem: str | None
    parameters: int
    parameters_counted: Literal["logical", "stored"]
    bytes: int
    dtypes: dict[str, int]
    files: list[str]
    quantization: Quantization | None
    tokenizer: TokenizerFacts | None
    chat_template: bool
    memory: Memory
    tensors: list[TensorLine]
