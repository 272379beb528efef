"""The options and the result of `tfcli initialize`."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from tfcli.families import FamilyFile
from tfcli.recipe.shared_keys import LARGEST_FILE, Seed, Size, StoredDtype
from tfcli.recipe.spec import InputPath, OutputPath, Result, Spec


class InitializeSpec(Spec):
    """Make a checkpoint with random weights from a config."""

    verb: ClassVar[str] = "initialize"
    positional: ClassVar[tuple[str, ...]] = ("config", "output")

    config: InputPath = Field(
        description="A folder with config.json, whose tokenizer goes along, or that file alone, as "
        "--config FILE. Weights beside it are not read."
    )
    output: OutputPath = Field(description="The folder to write.")
    changes: dict[str, Any] = Field(
        {}, description="Keys of config.json in place of the file's, such as num_hidden_layers: 2."
    )
    task: str | None = Field(
        None,
        description="The head, such as causal-lm or seq2seq-lm; left out, what the config says the "
        "model was saved for.",
    )
    seed: Seed = Field(0, description="What the weights follow from.")
    dtype: StoredDtype = Field(None, description="The type of the weights; left out, float32.")
    shard_size: Size = Field("5GB", description=LARGEST_FILE)
    family_file: FamilyFile = None


class InitializeResult(Result):
    """What was written."""

    schema_name: ClassVar[str] = "tfcli.initialize/1"

    model_type: str = Field(description="The family.")
    task: str = Field(description="The head.")
    parameters: int = Field(description="Weights of the model; tied ones count once.")
    dtype: str = Field(description="The type of the weights.")
    files: list[str] = Field(description="The weight files, in order.")
    companions: list[str] = Field(description="The tokenizer and other files that went along.")
