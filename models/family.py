"""What the registry knows of one architecture. Importing this imports no torch."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tfcli.models.errors import ModelError, hint

if TYPE_CHECKING:
    from tfcli.models.backbone import Backbone
    from tfcli.models.config import BaseConfig
    from tfcli.models.model import Model


@dataclass(frozen=True)
class Family:
    """One architecture.

    Classes are given as `module:Class` and imported on first use, or as they are.

    Args:
        model_type: its name in config.json.
        kind: such as `decoder` or `vision`, see `families.ROOMS`; groups the documentation.
        config: its config class.
        backbone: its body.
        heads: task -> head class. The first task is the default.
        names: task -> the entry of `architectures` in config.json.
        aliases: further entries of `architectures` -> the task that they are loaded as.
        features: what it has that others lack, for the documentation.
        keep_fp32: parameters that a cast of the weights leaves in fp32: a regular expression found
            in their names -> the types that they are not cast to, as torch names them.
    """

    model_type: str
    kind: str
    config: str | type[BaseConfig]
    backbone: str | type[Backbone]
    heads: Mapping[str, str | type[Model]]
    names: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    keep_fp32: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def config_class(self) -> type[BaseConfig]:
        """Import the config class."""
        return _load(self.config)

    def backbone_class(self) -> type[Backbone]:
        """Import the backbone class."""
        return _load(self.backbone)

    def model_class(self, task: str) -> type[Model]:
        """The class of a task: its head, joined with the family's backbone.

        Raises:
            ModelError: the family has no such task.
        """
        if task not in self.heads:
            raise ModelError(
                f"{self.model_type} has no task {task!r}",
                fix=hint(task, self.heads),
            )
        return _joined(self.names[task], _load(self.heads[task]), _load(self.backbone))

    def cast_to(self, name: str, dtype: str) -> str:
        """The type that a parameter gets when a model's weights are cast to `dtype`: the one rule
        for files that are written and for weights in memory. Types as torch names them."""
        for part, refused in self.keep_fp32.items():
            if dtype in refused and re.search(part, name):
                return "float32"
        return dtype

    def task_of(self, architectures: list[str] | None) -> str:
        """The task that a checkpoint was saved for; the family's first where it does not say.

        Raises:
            ModelError: it names classes, and none of them is known; or the family has no task.
        """
        if not self.heads:
            raise ModelError(
                f"{self.model_type} is a part of other models and none by itself",
                where="config.json, key model_type",
                fix="open the model that it is a part of",
            )
        known = {name: task for task, name in self.names.items()} | dict(self.aliases)
        for name in architectures or ():
            if isinstance(name, str) and name in known:
                return known[name]
        if architectures:
            raise ModelError(
                f"{architectures[0]!r} is no class of {self.model_type} that is built",
                where="config.json, key architectures",
                fix=f"name the task to load it as; {hint(str(architectures[0]), known)}",
            )
        return next(iter(self.heads))


@functools.cache
def _joined(name: str, head: Any, backbone: Any) -> type[Model]:
    own = {
        "body_class": getattr(head, "body_class", backbone),
        "__doc__": head.__doc__,
        "__module__": "tfcli.models.classes",
    }
    return type(name, (head,), own)


def _load(target: str | type) -> Any:
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
