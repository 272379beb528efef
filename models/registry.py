"""Which families exist and where their code is. Importing this imports no torch.

A family of your own is registered with `register(Family(...))`; its classes are given as
`package.module:Class` and imported on first use.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfcli.models.errors import ModelError, hint

if TYPE_CHECKING:
    from tfcli.models.config import ModelConfig
    from tfcli.models.model import Model


@dataclass(frozen=True)
class Family:
    """One architecture.

    Args:
        model_type: its name in config.json.
        config: where its config class is, `module:Class`.
        tasks: task -> model class, `module:Class`. The first is the default.
        architectures: entry of `architectures` in config.json -> task.
    """

    model_type: str
    config: str
    tasks: Mapping[str, str]
    architectures: Mapping[str, str]

    def config_class(self) -> type[ModelConfig]:
        """Import the config class."""
        return _load(self.config)

    def model_class(self, task: str) -> type[Model]:
        """Import the model class of a task.

        Raises:
            ModelError: the family has no such task.
        """
        if task not in self.tasks:
            raise ModelError(
                f"{self.model_type} has no task {task!r}",
                fix=hint(task, self.tasks),
            )
        return _load(self.tasks[task])

    def task_of(self, architectures: list[str] | None) -> str:
        """The task that a checkpoint was saved for; the family's first where it does not say."""
        for name in architectures or ():
            if name in self.architectures:
                return self.architectures[name]
        return next(iter(self.tasks))

    def architecture_of(self, task: str) -> str:
        """The entry of `architectures` to write for a task."""
        return next(name for name, own in self.architectures.items() if own == task)


FAMILIES: dict[str, Family] = {}


def register(family: Family) -> Family:
    """Make a family known by its model_type."""
    FAMILIES[family.model_type] = family
    return family


def get_family(model_type: str) -> Family:
    """The family of a model_type.

    Raises:
        ModelError: it is not known; the message lists those that are, and the nearest.
    """
    if model_type not in FAMILIES:
        raise ModelError(
            f"unknown model_type {model_type!r}",
            where="config.json, key model_type",
            fix=hint(model_type, FAMILIES),
        )
    return FAMILIES[model_type]


def read_config(data: Mapping[str, Any]) -> ModelConfig:
    """The family's config from the content of a config.json.

    Raises:
        ModelError: no or an unknown model_type, or a value that the family refuses.
    """
    model_type = data.get("model_type")
    if not isinstance(model_type, str):
        raise ModelError(
            "the config has no model_type",
            where="config.json",
            fix=f"add model_type, one of: {', '.join(sorted(FAMILIES))}",
        )
    return get_family(model_type).config_class().from_dict(data)


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


register(
    Family(
        model_type="llama",
        config="tfcli.models.configs.llama:LlamaConfig",
        tasks={"causal-lm": "tfcli.models.text.llama:LlamaForCausalLM"},
        architectures={"LlamaForCausalLM": "causal-lm"},
    )
)
register(
    Family(
        model_type="gpt2",
        config="tfcli.models.configs.gpt2:GPT2Config",
        tasks={"causal-lm": "tfcli.models.text.gpt2:GPT2LMHeadModel"},
        architectures={"GPT2LMHeadModel": "causal-lm"},
    )
)
register(
    Family(
        model_type="bert",
        config="tfcli.models.configs.bert:BertConfig",
        tasks={
            "masked-lm": "tfcli.models.text.bert:BertForMaskedLM",
            "sequence-classification": "tfcli.models.text.bert:BertForSequenceClassification",
        },
        architectures={
            "BertForMaskedLM": "masked-lm",
            "BertForPreTraining": "masked-lm",
            "BertForSequenceClassification": "sequence-classification",
        },
    )
)
