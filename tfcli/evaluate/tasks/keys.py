"""The keys of a task's file, of language models as lm-evaluation-harness has them."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Template = str | int | list[Any] | dict[str, Any] | None


class CommonKeys(BaseModel):
    """What every task's file may say: its data, its metrics, and what it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    dataset_path: str | None = None
    dataset_name: str | None = None
    dataset_kwargs: dict[str, Any] | None = None
    validation_split: str | None = None
    test_split: str | None = None
    metric_list: list[dict[str, Any]] | None = None
    metadata: dict[str, Any] = {}
    tag: str | list[str] | None = None
    task_alias: str | None = None

    @property
    def version(self) -> str | None:
        """What `metadata` says."""
        found = self.metadata.get("version")
        return None if found is None else str(found)

    @property
    def cluster(self) -> str | None:
        """The column whose equal values make samples one cluster, from `metadata`."""
        found = self.metadata.get("cluster")
        return None if found is None else str(found)

    @property
    def digest(self) -> str:
        """The hash of all that it says and that figures depend on."""
        idle = {"tag", "task_alias", "should_decontaminate", "doc_to_decontamination_query"}
        said = self.model_dump(mode="json", exclude=idle)
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class Shots(BaseModel):
    """`fewshot_config`: what of the examples is otherwise than of the samples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sampler: Literal["default", "first_n"] = "default"
    split: str | None = None
    samples: list[dict[str, Any]] | None = None
    fewshot_indices: list[int] | None = None
    doc_to_text: Template = None
    doc_to_target: Template = None
    doc_to_choice: Template = None
    gen_prefix: str | None = None
    fewshot_delimiter: str | None = None
    target_delimiter: str | None = None


class Filter(BaseModel):
    """An entry of `filter_list`: steps from answers to what is judged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    filter: list[dict[str, Any]]


class TaskFile(CommonKeys):
    """A task of a language model."""

    output_type: Literal[
        "loglikelihood", "loglikelihood_rolling", "multiple_choice", "generate_until"
    ] = "generate_until"
    training_split: str | None = None
    fewshot_split: str | None = None
    doc_to_text: Template = None
    doc_to_target: Template = None
    doc_to_choice: Template = None
    description: str = ""
    target_delimiter: str = " "
    fewshot_delimiter: str = "\n\n"
    fewshot_config: Shots = Shots()
    num_fewshot: int | None = Field(None, ge=0)
    gen_prefix: str | None = None
    filter_list: list[Filter] | None = None
    generation_kwargs: dict[str, Any] | None = None
    repeats: int = Field(1, ge=1)
    should_decontaminate: bool = False
    doc_to_decontamination_query: str | None = None
    unsafe_code: bool = False
