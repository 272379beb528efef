"""The options and the result of `tfcli inspect`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field

from tfcli.families import FamilyFile
from tfcli.recipe.marks import Also
from tfcli.recipe.spec import ModelRef, Result, Spec


class InspectSpec(Spec):
    """Say what a checkpoint holds and what it needs, from its headers alone."""

    verb: ClassVar[str] = "inspect"
    positional: ClassVar[tuple[str, ...]] = ("path",)

    path: Annotated[ModelRef, Also("model")] = Field(
        description="A checkpoint in any container that `tfcli convert` reads: a folder, a "
        "safetensors, PyTorch or GGUF file, a folder with a config.json alone, an adapter, or a "
        "hub id org/name[@revision], of which the headers are read and the weights stay there."
    )
    config_from: ModelRef | None = Field(
        None,
        description="The model whose config.json and tokenizer belong to the weights, for those "
        "that lie without: single files, and folders that trainers save.",
    )
    context: int | None = Field(
        None,
        ge=1,
        description="How many tokens a sequence has, for the memory to run it. Without it the "
        "config's longest, or 4,096 where it has none.",
    )
    family_file: FamilyFile = None

    def only_looks(self) -> bool:
        return True


class TensorLine(BaseModel):
    """One stored tensor."""

    name: str = Field(description="The tensor's name, as stored.")
    dtype: str = Field(
        description="The type, as safetensors spells it; in a GGUF file as GGUF does, such as "
        "`Q4_K`."
    )
    shape: list[int] = Field(description="The dimensions; of one part where there are several.")
    bytes: int = Field(description="Bytes of the data, all parts together.")
    parts: int = Field(
        1, description="How many files of tensor parallelism hold a part of it, or a copy."
    )


class Quantization(BaseModel):
    """How the weights are quantized, from the config."""

    method: str = Field(description="The method, such as `gptq`.")
    bits: int | None = Field(description="Bits of a weight; null where the config does not say.")
    group_size: int | None = Field(description="Weights that share a scale; -1 is a whole row.")
    settings: dict[str, Any] = Field(description="The config's quantization_config as it is.")


class TokenizerFacts(BaseModel):
    """The tokenizer that lies beside the weights."""

    type: str = Field(description="The algorithm, such as `BPE`, `WordPiece` or `Unigram`.")
    vocab_size: int | None = Field(
        description="Entries, added tokens included; null where the file does not say."
    )
    file: str = Field(description="Where it was found.")


class GGUFFacts(BaseModel):
    """What a GGUF file says of itself."""

    name: str | None = Field(description="The model's name, or null.")
    architecture: str | None = Field(description="llama.cpp's word for the family.")
    file_type: str | None = Field(
        description="The mix of types that it was written as, such as `Q4_K_M`."
    )
    types: dict[str, int] = Field(description="How many tensors have each type.")
    context_length: int | None = Field(description="Tokens that the model was made for.")
    tokenizer: str | None = Field(description="llama.cpp's word for the tokenizer's kind.")
    pre_tokenizer: str | None = Field(
        description="llama.cpp's word for how the tokenizer cuts text into words."
    )


class Memory(BaseModel):
    """Bytes of memory, estimated by `tfcli.inspect.memory`."""

    load: int = Field(description="Memory to hold the weights.")
    run: int | None = Field(
        description="Memory to run one sequence of `context` tokens; null where the config is not "
        "understood.",
    )
    train: int = Field(
        description="Memory to train every parameter with AdamW in float32, without activations."
    )
    context: int | None = Field(description="Tokens that `run` counts with.")
    kv_cache: int | None = Field(description="The part of `run` that is keys and values.")
    activations: int | None = Field(description="The part of `run` that is intermediate results.")


class DeviceMemory(BaseModel):
    """Memory of this machine, in bytes."""

    device: str = Field(description="`cpu`, or `cuda:0` and so on.")
    name: str = Field(description="The name of the GPU, or `main memory`.")
    bytes: int = Field(description="Bytes that the device has.")


class Need(BaseModel):
    """Bytes that an action takes in a dtype, estimated by `tfcli.inspect.needs`."""

    action: Literal["load", "run", "train", "adapt"] = Field(
        description="`load` the weights; `run` one sequence; `train` every parameter with AdamW, "
        "or `adapt` it with LoRA of rank 16 on every linear of the blocks, without activations."
    )
    dtype: Literal["float32", "bfloat16", "int8", "int4"] = Field(
        description="The type of the weights; `int8` and `int4` in groups of 128."
    )
    bytes: int = Field(description="Bytes of memory.")
    fits: list[str] = Field(
        description="The devices of this machine of whose memory they take nine tenths at most."
    )


class AdapterFacts(BaseModel):
    """What an adapter is."""

    method: str = Field(description="The method, such as `lora`, `dora` or `ia3`.")
    wrote: str = Field(description="The library whose format it has, `PEFT` or `MLX`.")
    rank: int | None = Field(
        description="The rank of its factors; null where the config does not say."
    )
    alpha: float | None = Field(
        description="What the rank divides (lora_alpha); null where the config does not say."
    )
    targets: list[str] = Field(description="The modules that it changes, as their last names.")
    whole: list[str] = Field(description="The parameters that it brings along whole.")
    base: str | None = Field(
        description="The checkpoint that it was trained on, as its config names it, or null."
    )


class InspectResult(Result):
    """What a checkpoint is."""

    schema_name: ClassVar[str] = "tfcli.inspect/1"

    path: str = Field(description="The folder or file that was read.")
    kind: str = Field(
        description="The container: `hf`, `gguf`, `meta`, `original`, `dcp`, `zero`, `megatron`, "
        "`flagai` or `mlx`; of a single file of weights, `safetensors` or `torch`; `config` of a "
        "folder without weights, and `adapter`."
    )
    model_type: str | None = Field(
        description="The config's model_type; null where there is no config."
    )
    architecture: str | None = Field(description="The class that the config names.")
    task: str | None = Field(
        description="What tfcli runs it as, such as `causal-lm`; null if it does not, or if the "
        "config names a class that is not known and the task must be given."
    )
    problem: str | None = Field(description="Why there is no task, or null.")
    parameters: int = Field(
        description="Weights of the model; of packed integers, the weights that they stand for."
    )
    parameters_counted: Literal["logical", "stored"] = Field(
        description="`logical`, or `stored` where stored values are counted: for a quantization "
        "method whose packing is not known here, and for parts without a config.",
    )
    bytes: int = Field(description="Bytes of all stored tensors.")
    dtypes: dict[str, int] = Field(description="Stored values by type.")
    files: list[str] = Field(description="The weight files.")
    quantization: Quantization | None = Field(
        description="How the weights are quantized; null where they are not."
    )
    tokenizer: TokenizerFacts | None = Field(
        description="The tokenizer beside the weights; null where there is none."
    )
    chat_template: bool = Field(description="Whether there is a chat template.")
    memory: Memory = Field(
        description="Memory needed to load, run and train the model as it is stored."
    )
    needs: list[Need] = Field(description="What the model needs in other types too.")
    machine: list[DeviceMemory] = Field(description="The memory of this machine.")
    adapter: AdapterFacts | None = Field(description="What an adapter is; null for a checkpoint.")
    gguf: GGUFFacts | None = Field(
        description="What a GGUF file says of itself; null for other containers."
    )
    beside: dict[str, str] = Field(
        description="What lies beside the weights, such as an optimizer's state -> what it is."
    )
    tensors: list[TensorLine] = Field(description="All tensors, as stored.")
